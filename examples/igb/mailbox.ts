/**
 * The PF/VF mailbox: what the messages mean, and both ends of the wire (7.10.2.9, 8.14).
 *
 * Each VF shares 64 bytes of memory with the PF. The hardware knows only locks, "request" and
 * "acknowledge" bits; the meaning of the words is a convention that all drivers for the 82576 keep:
 * the kind of message in bits 15:0 of word 0, its details in bits 23:16, the answer in bits 31:29.
 */
import { DriverError } from './errors';
import { type Mac, macFromWords, macHigh, macLow } from './mac';
import {
  MAILBOX_WORDS,
  mbvficrAck,
  mbvficrRequest,
  P2V_ACK,
  P2V_PFU,
  P2V_RVFU,
  P2V_STS,
  Pf,
  type PfRegister,
  type Registers,
  V2P_ACK,
  V2P_PFACK,
  V2P_PFSTS,
  V2P_REQ,
  V2P_RSTD,
  V2P_RSTI,
  V2P_VFU,
  Vf,
  type VfRegister,
} from './registers';
import type { Signal } from './signal';

const ACK = 0x8000_0000;
const NACK = 0x4000_0000;
/** Clear to send: the PF knows the VF and takes requests. */
const CTS = 0x2000_0000;
const KIND_MASK = 0xffff;

const RESET = 1;
const SET_MAC = 2;
const SET_MULTICAST = 3;
const SET_VLAN = 4;
const SET_MAX_FRAME = 5;
const SET_PROMISCUOUS = 6;
/** From the PF: "something has changed, look at the link". */
const PF_CONTROL = 0x0100;

const MAC_FILTERS_CLEAR = 1;
const MAC_FILTERS_ADD = 2;
const PROMISCUOUS_MULTICAST = 2;
const PROMISCUOUS_UNICAST = 4;
/** Hashes that fit: two to a word, after word 0. */
const MAX_HASHES = 30;

/** A VF's request. */
export type VfRequest =
  | { readonly kind: 'reset' }
  | { readonly kind: 'set-mac'; readonly mac: Mac }
  | { readonly kind: 'clear-mac-filters' }
  | { readonly kind: 'add-mac-filter'; readonly mac: Mac }
  /** `total` addresses; hashes of the first 30: bits 47:36 of each address. */
  | { readonly kind: 'set-multicast'; readonly hashes: readonly number[]; readonly total: number }
  | { readonly kind: 'set-vlan'; readonly vlan: number; readonly add: boolean }
  /** Bytes, with FCS. */
  | { readonly kind: 'set-max-frame'; readonly bytes: number }
  | { readonly kind: 'set-promiscuous'; readonly multicast: boolean; readonly unicast: boolean }
  | { readonly kind: 'unknown'; readonly word: number };

export function decodeRequest(words: ArrayLike<number>): VfRequest {
  const word = words[0]!;
  const details = (word >>> 16) & 0xff;
  const mac = () => macFromWords(words[1]!, words[2]!);
  switch (word & KIND_MASK) {
    case RESET:
      return { kind: 'reset' };
    case SET_MAC:
      if (details === 0) return { kind: 'set-mac', mac: mac() };
      if (details === MAC_FILTERS_CLEAR) return { kind: 'clear-mac-filters' };
      if (details === MAC_FILTERS_ADD) return { kind: 'add-mac-filter', mac: mac() };
      return { kind: 'unknown', word };
    case SET_MULTICAST: {
      const hash = (_: unknown, i: number) => (words[1 + (i >> 1)]! >>> (16 * (i & 1))) & 0xfff;
      const hashes = Array.from({ length: Math.min(details, MAX_HASHES) }, hash);
      return { kind: 'set-multicast', hashes, total: details };
    }
    case SET_VLAN:
      return { kind: 'set-vlan', vlan: words[1]! & 0xfff, add: details !== 0 };
    case SET_MAX_FRAME:
      return { kind: 'set-max-frame', bytes: words[1]! };
    case SET_PROMISCUOUS: {
      const multicast = (details & PROMISCUOUS_MULTICAST) !== 0;
      return { kind: 'set-promiscuous', multicast, unicast: (details & PROMISCUOUS_UNICAST) !== 0 };
    }
    default:
      return { kind: 'unknown', word };
  }
}

/** The requests that our own VF driver makes. */
export const encodeReset = (): number[] => [RESET];
/** `bytes`: with FCS. */
export const encodeSetMaxFrame = (bytes: number): number[] => [SET_MAX_FRAME, bytes];
export const encodeSetMac = (mac: Mac): number[] => [SET_MAC, macLow(mac), macHigh(mac)];

/** The answer to RESET bears no CTS, and the address that the PF gives. */
export function encodeResetReply(mac: Mac): number[] {
  return [(RESET | ACK) >>> 0, macLow(mac), macHigh(mac)];
}

export function encodeReply(request: number, accepted: boolean): number[] {
  return [(request | CTS | (accepted ? ACK : NACK)) >>> 0];
}

/** The answer to a VF that has not reset since the PF lost sight of it. */
export function encodeRefusal(request: number): number[] {
  return [(request | NACK) >>> 0];
}

/**
 * A word of its own that refuses nothing: the kernel's PF driver answers the acknowledgement of a VF that it
 * does not know so, and DPDK's every acknowledgement.
 */
export const encodeBareNack = (): number[] => [NACK];
export const isBareNack = (word: number): boolean => word === NACK;

export const encodePing = (clearToSend: boolean): number[] => [
  PF_CONTROL | (clearToSend ? CTS : 0),
];

/** What a word from the PF says: an answer to a request, or a ping. */
export function isReplyTo(request: number, word: number): boolean {
  return isAnswer(word) && (word & KIND_MASK) === (request & KIND_MASK);
}

export const isAnswer = (word: number): boolean => (word & (ACK | NACK)) !== 0;
export const isAccepted = (reply: number): boolean => (reply & ACK) !== 0;
export const isClearToSend = (word: number): boolean => (word & CTS) !== 0;
/** A word of a PF that knows the VF: with CTS, or the answer to RESET, which bears none. */
export const isFromServer = (word: number): boolean => isClearToSend(word) || isAccepted(word);

/** The PF's end: one mailbox per VF. */
export class PfMailbox {
  constructor(private readonly registers: Registers<PfRegister>) {}

  /** Bit n: VF n has written a request. Stays until `receive`. */
  requests(): number {
    return this.registers.read(Pf.MBVFICR) & 0xff;
  }

  /** Bit n: VF n has read what was sent. Cleared by asking. */
  acknowledgements(): number {
    const acks = this.registers.read(Pf.MBVFICR) & 0xff_0000;
    if (acks !== 0) this.registers.write(Pf.MBVFICR, acks);
    return acks >>> 16;
  }

  /** The request of a VF; the buffer stays the PF's until `send` or `release`. Undefined: the VF holds it. */
  receive(vfIndex: number): Uint32Array | undefined {
    if (!this.lock(vfIndex)) return undefined;
    this.registers.write(Pf.MBVFICR, mbvficrRequest(vfIndex));
    const words = new Uint32Array(MAILBOX_WORDS);
    for (let i = 0; i < MAILBOX_WORDS; i++) words[i] = this.registers.read(this.word(vfIndex, i));
    this.registers.write(Pf.P2VMAILBOX(vfIndex), P2V_ACK | P2V_PFU);
    return words;
  }

  /** Write a message and tell the VF. False: the VF holds the buffer. */
  send(vfIndex: number, words: readonly number[]): boolean {
    if (!this.lock(vfIndex)) return false;
    // An acknowledgement still standing there is for an earlier message.
    this.registers.write(Pf.MBVFICR, mbvficrAck(vfIndex));
    words.forEach((word, i) => {
      this.registers.write(this.word(vfIndex, i), word);
    });
    this.registers.write(Pf.P2VMAILBOX(vfIndex), P2V_STS);
    return true;
  }

  release(vfIndex: number): void {
    this.registers.write(Pf.P2VMAILBOX(vfIndex), 0);
  }

  /** Take the buffer away from a VF that does not let go of it. */
  breakLock(vfIndex: number): void {
    this.registers.write(Pf.P2VMAILBOX(vfIndex), P2V_RVFU);
  }

  private lock(vfIndex: number): boolean {
    this.registers.write(Pf.P2VMAILBOX(vfIndex), P2V_PFU);
    return (this.registers.read(Pf.P2VMAILBOX(vfIndex)) & P2V_PFU) !== 0;
  }

  private word(vfIndex: number, index: number): PfRegister {
    return (Pf.VMBMEM(vfIndex) + 4 * index) as PfRegister;
  }
}

/** How long a request may take in all, and after how long it is written again. */
const REQUEST_TIMEOUT_MS = 3000;
const RESEND_MS = 500;
/** The PF has written something else, perhaps over the answer. */
const RESEND_AFTER_NACK_MS = 50;
/** Some PFs and QEMU do not raise the VF's mailbox interrupt, so waiting looks at the bits, too. */
const POLL_MS = 5;

/** A VF's end. `signal` is notified by the VF's interrupts. */
export class VfMailbox {
  /** PFSTS, PFACK and RSTD are cleared by reading V2PMAILBOX: seen, but not dealt with. */
  private seen = 0;
  /** A message was acknowledged, and no bare NACK has come since. */
  private acknowledged = false;
  /** The PF answers every acknowledgement with a bare NACK. */
  private nacksAcks = false;

  constructor(
    private readonly registers: Registers<VfRegister>,
    private readonly signal: Signal,
  ) {}

  inReset(): boolean {
    return (this.look() & V2P_RSTI) !== 0;
  }

  /** Whether the PF is or has been in reset since `forgetReset`. */
  hasBeenReset(): boolean {
    return this.inReset() || (this.seen & V2P_RSTD) !== 0;
  }

  /** Another driver may have the PF now. */
  forgetReset(): void {
    this.take(V2P_RSTD);
    this.nacksAcks = false;
  }

  /** The PF knows this VF, and answers acknowledgements with a bare NACK all the same: those are passed over. */
  expectNacks(): void {
    this.nacksAcks = true;
  }

  /** Write a request and wait for its answer, of `length` words. Other words that come are read and dropped. */
  async request(words: readonly number[], length = 1): Promise<Uint32Array> {
    const deadline = Date.now() + REQUEST_TIMEOUT_MS;
    while (Date.now() < deadline) {
      if (!this.write(words)) {
        await this.signal.wait(POLL_MS);
        continue;
      }
      const reply = await this.waitForReply(words[0]!, length, Date.now() + RESEND_MS);
      if (reply) return reply;
    }
    throw new DriverError(
      `the PF did not answer mailbox request ${words[0]} within ${REQUEST_TIMEOUT_MS / 1000} s`,
      'see that its driver runs and serves VFs',
    );
  }

  /** A word that the PF sent on its own, if any. */
  poll(): number | undefined {
    const expected = this.nacksAcks && this.acknowledged;
    const word = this.take(V2P_PFSTS) ? this.read(1)?.[0] : undefined;
    return word !== undefined && isBareNack(word) && expected ? undefined : word;
  }

  private async waitForReply(
    request: number,
    length: number,
    deadline: number,
  ): Promise<Uint32Array | undefined> {
    let end = deadline;
    while (Date.now() < end) {
      if (!this.take(V2P_PFSTS)) {
        await this.signal.wait(POLL_MS);
        continue;
      }
      const words = this.read(length);
      if (!words) continue;
      if (isReplyTo(request, words[0]!)) return words;
      if (isBareNack(words[0]!)) end = Math.min(end, Date.now() + RESEND_AFTER_NACK_MS);
    }
    return undefined;
  }

  private write(words: readonly number[]): boolean {
    if (!this.lock()) return false;
    // What the PF said before this request is about to be overwritten.
    this.take(V2P_PFSTS | V2P_PFACK);
    words.forEach((word, i) => {
      this.registers.write(this.word(i), word);
    });
    this.registers.write(Vf.V2PMAILBOX, V2P_REQ);
    return true;
  }

  private read(length: number): Uint32Array | undefined {
    if (!this.lock()) {
      // The PF is writing again: look once more.
      this.seen |= V2P_PFSTS;
      return undefined;
    }
    const words = new Uint32Array(length);
    for (let i = 0; i < length; i++) words[i] = this.registers.read(this.word(i));
    // Acknowledged, a bare NACK may bring the next one, and so for ever.
    const isNack = isBareNack(words[0]!);
    this.registers.write(Vf.V2PMAILBOX, isNack ? 0 : V2P_ACK);
    this.acknowledged = !isNack;
    return words;
  }

  private lock(): boolean {
    this.registers.write(Vf.V2PMAILBOX, V2P_VFU);
    return (this.look() & V2P_VFU) !== 0;
  }

  private look(): number {
    const value = this.registers.read(Vf.V2PMAILBOX);
    this.seen |= value & (V2P_PFSTS | V2P_PFACK | V2P_RSTD);
    return value;
  }

  /** Whether one of the bits is or was set; forget it. */
  private take(bits: number): boolean {
    this.look();
    const found = (this.seen & bits) !== 0;
    this.seen &= ~bits;
    return found;
  }

  private word(index: number): VfRegister {
    return (Vf.VMBMEM + 4 * index) as VfRegister;
  }
}
