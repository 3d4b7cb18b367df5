/** The PF's side of the mailbox conversation: what VFs may ask for, and what is done about it. */
import type { Filters } from './filters';
import { MAX_VFS } from './filters';
import { formatMac, type Mac, vfMac } from './mac';
import {
  decodeRequest,
  encodePing,
  encodeRefusal,
  encodeReply,
  encodeResetReply,
  isAnswer,
  PfMailbox,
  type VfRequest,
} from './mailbox';
import { Pf, type PfRegister, POOLS, type Registers } from './registers';

/** A request has been served. `details` go into reports: `{ mac: '02:...' }`. */
export type MailboxListener = (
  vf: number,
  request: VfRequest['kind'],
  accepted: boolean,
  details: Record<string, unknown>,
) => void;

const RETRY_MS = 1;
/** A VF that has held its buffer for so many retries is stuck. */
const MAX_RETRIES = 100;

interface VfState {
  readonly mac: Mac;
  /** It has reset since the PF or it was last reset. */
  clearToSend: boolean;
  /** It has not read yet what was sent last; a ping would overwrite that. */
  unread: boolean;
  pingDue: boolean;
  retries: number;
}

export class VfServer {
  private readonly mailbox: PfMailbox;
  private readonly vfs: VfState[];
  private retry: NodeJS.Timeout | undefined;

  constructor(
    private readonly registers: Registers<PfRegister>,
    private readonly filters: Filters,
    private readonly pfMac: Mac,
    private readonly listener: MailboxListener,
  ) {
    this.mailbox = new PfMailbox(registers);
    this.vfs = Array.from({ length: POOLS }, (_, vf) => ({
      mac: vfMac(pfMac, vf),
      clearToSend: false,
      unread: false,
      pingDue: false,
      retries: 0,
    }));
  }

  initialize(): void {
    this.filters.initialize(this.pfMac);
  }

  address(vf: number): Mac {
    return this.vfs[vf]!.mac;
  }

  close(): void {
    clearTimeout(this.retry);
  }

  /** Serve every VF that asks. Called at each mailbox interrupt; finds nothing to do if called in vain. */
  serve(): void {
    this.serveResets();
    const acknowledged = this.mailbox.acknowledgements();
    const requests = this.mailbox.requests();
    for (let vf = 0; vf < POOLS; vf++) {
      if (acknowledged & (1 << vf)) this.vfs[vf]!.unread = false;
      if (requests & (1 << vf)) this.serveRequest(vf);
      else if (this.vfs[vf]!.pingDue) this.sendPing(vf);
    }
  }

  /** Have the VFs look at the link. */
  ping(): void {
    for (const vf of this.vfs) vf.pingDue = vf.clearToSend;
    this.serve();
  }

  /** Function level resets of VFs (8.14, VFLRE): what they had asked for is void. */
  private serveResets(): void {
    const resets = this.registers.read(Pf.VFLRE);
    if (resets === 0) return;
    this.registers.write(Pf.VFLRE, resets);
    for (let vf = 0; vf < MAX_VFS; vf++) if (resets & (1 << vf)) this.forget(vf);
  }

  private forget(vf: number): void {
    Object.assign(this.vfs[vf]!, { clearToSend: false, unread: false, pingDue: false });
    this.filters.resetVf(vf);
  }

  private serveRequest(vf: number): void {
    const state = this.vfs[vf]!;
    const words = this.mailbox.receive(vf);
    if (!words) {
      this.retryLater(vf);
      return;
    }
    state.retries = 0;
    const word = words[0]!;
    // Not a request, but what we answered last.
    if (isAnswer(word)) {
      this.mailbox.release(vf);
      return;
    }
    const request = decodeRequest(words);
    const { accepted, reply } = this.answer(vf, word, request);
    state.unread = this.mailbox.send(vf, reply);
    this.listener(vf, request.kind, accepted, describe(request));
  }

  private answer(
    vf: number,
    word: number,
    request: VfRequest,
  ): { accepted: boolean; reply: number[] } {
    // The eighth VF's pool is the PF's own.
    if (vf >= MAX_VFS) return { accepted: false, reply: encodeRefusal(word) };
    if (request.kind === 'reset') {
      this.reset(vf);
      return { accepted: true, reply: encodeResetReply(this.address(vf)) };
    }
    if (!this.vfs[vf]!.clearToSend) return { accepted: false, reply: encodeRefusal(word) };
    const accepted = this.apply(vf, request);
    return { accepted, reply: encodeReply(word, accepted) };
  }

  private reset(vf: number): void {
    // The VF's own reset has set its VFLRE bit: seen later, it would undo this.
    this.registers.write(Pf.VFLRE, 1 << vf);
    this.forget(vf);
    this.filters.setVfAddress(vf, this.address(vf));
    // The VF's reset has cleared them.
    this.registers.set(Pf.VFTE, 1 << vf);
    this.registers.set(Pf.VFRE, 1 << vf);
    this.vfs[vf]!.clearToSend = true;
  }

  private apply(vf: number, request: VfRequest): boolean {
    const { filters } = this;
    switch (request.kind) {
      case 'set-mac':
        return filters.setVfAddress(vf, request.mac);
      case 'add-mac-filter':
        return filters.addAddress(vf, request.mac);
      case 'clear-mac-filters':
        filters.clearAddresses(vf);
        return true;
      case 'set-multicast':
        filters.setMulticast(vf, request.hashes, request.total);
        return true;
      case 'set-vlan':
        return filters.setVlan(vf, request.vlan, request.add);
      case 'set-max-frame':
        return filters.setMaxFrame(vf, request.bytes);
      case 'set-promiscuous':
        filters.setMulticastPromiscuous(vf, request.multicast);
        // It would show a VF the other functions' frames.
        return !request.unicast;
      default:
        return false;
    }
  }

  private sendPing(vf: number): void {
    const state = this.vfs[vf]!;
    if (state.unread || !this.mailbox.send(vf, encodePing(state.clearToSend))) return;
    state.pingDue = false;
    state.unread = true;
  }

  private retryLater(vf: number): void {
    const state = this.vfs[vf]!;
    if (++state.retries >= MAX_RETRIES) {
      state.retries = 0;
      this.mailbox.breakLock(vf);
      return;
    }
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.serve(), RETRY_MS);
  }
}

function describe(request: VfRequest): Record<string, unknown> {
  switch (request.kind) {
    case 'set-mac':
    case 'add-mac-filter':
      return { mac: formatMac(request.mac) };
    case 'set-multicast':
      return { addresses: request.total };
    case 'set-vlan':
      return { vlan: request.vlan, add: request.add };
    case 'set-max-frame':
      return { bytes: request.bytes };
    case 'set-promiscuous':
      return { multicast: request.multicast, unicast: request.unicast };
    default:
      return {};
  }
}
