/**
 * A transmit queue: advanced descriptors (7.2.2), one frame in one buffer each. `txBurst` allocates
 * nothing, writes one doorbell, and asks the device to report the last descriptor of a burst only.
 */
import {
  DESCRIPTOR_BYTES,
  DESCRIPTOR_WORDS,
  enableQueue,
  type RingMemory,
} from './descriptor-ring';
import { DriverError } from './errors';
import { BYTES, newCounters, PACKETS, type PacketPool } from './packet-pool';
import { QUEUE_ENABLE, type Registers, type TxQueueRegisters } from './registers';

// A data descriptor (7.2.2.3): word 2 is command, type and length; word 3 payload length, then status.
const COMMAND = 2;
const STATUS = 3;
const DATA = (3 << 20) | (1 << 29) | (1 << 25); // DTYP = data, DEXT, IFCS
const END_OF_PACKET = 1 << 24;
const REPORT = 1 << 27; // RS
const INSERT_VLAN = 1 << 30; // VLE
const PAYLEN_SHIFT = 14;
const DONE = 1 << 0;

// A context descriptor (7.2.2.2), of index 0: word 0 has the VLAN tag in its upper half.
const CONTEXT = (2 << 20) | (1 << 29); // DTYP = context, DEXT
const VLAN_SHIFT = 16;

/**
 * What a descriptor points to is in one page: QEMU loses a frame whose piece is not in one piece of
 * the guest's memory. Pools have no buffers on two pages but those that are larger than one.
 */
const PAGE = 4096;
/** An import is looked up at each use; this is a constant in compiled code. */
const WORDS = DESCRIPTOR_WORDS;

export class TxQueue<R extends number> {
  private readonly counters = newCounters();
  private readonly descriptors: Uint32Array;
  private readonly mask: number;
  /** The buffers under way, in order; the device's from `oldestSent` on. */
  private readonly sent: Uint32Array;
  private readonly addresses: BigUint64Array;
  private readonly iovas: BigUint64Array;
  private readonly low: Uint32Array;
  private readonly high: Uint32Array;
  /** The longest frame that takes one descriptor and no more thought. */
  private readonly simple: number;
  /** By the first descriptor of a burst: its last one, and how many frames it has. */
  private readonly last: Uint16Array;
  private readonly frames: Uint16Array;
  private next = 0;
  private oldest = 0;
  private nextSent = 0;
  private oldestSent = 0;
  /** The tag in the device's context. */
  private context = 0;

  /** @param memory of `count` descriptors; see `allocateRing` */
  constructor(
    private readonly registers: Registers<R>,
    private readonly queue: TxQueueRegisters<R>,
    private readonly memory: RingMemory,
    private readonly pool: PacketPool,
    count: number,
  ) {
    this.descriptors = memory.u32;
    this.simple = pool.bufferBytes > PAGE ? 0 : pool.bufferBytes;
    this.mask = count - 1;
    this.sent = new Uint32Array(count);
    this.last = new Uint16Array(count);
    this.frames = new Uint16Array(count);
    this.addresses = memory.u64;
    this.iovas = pool.buffers.iovas;
    this.low = pool.buffers.iovaLo;
    this.high = pool.buffers.iovaHi;
  }

  /** Frames given to the device, and their bytes. */
  get packets(): number {
    return this.counters[PACKETS]!;
  }

  get bytes(): number {
    return this.counters[BYTES]!;
  }

  /** Enable the queue, empty; again after each reset of the function, which loses what was in it. */
  start(): void {
    const { registers, queue, memory } = this;
    this.giveBack((this.nextSent - this.oldestSent) & this.mask);
    this.next = 0;
    this.oldest = 0;
    this.context = 0;
    registers.write(queue.TDBAL, memory.iovaLo);
    registers.write(queue.TDBAH, memory.iovaHi);
    registers.write(queue.TDLEN, (this.mask + 1) * DESCRIPTOR_BYTES);
    registers.write(queue.TDH, 0);
    registers.write(queue.TDT, 0);
    enableQueue(registers, queue.TXDCTL, 'transmit');
  }

  stop(): void {
    this.registers.clear(this.queue.TXDCTL, QUEUE_ENABLE);
  }

  /** Frames given to the device that it has not sent yet. */
  get pending(): number {
    this.reclaim();
    return (this.nextSent - this.oldestSent) & this.mask;
  }

  /** Descriptors that are free now: one a frame, and one more wherever the VLAN changes. */
  get free(): number {
    this.reclaim();
    return this.mask - ((this.next - this.oldest) & this.mask);
  }

  /**
   * Send the frames `ids[0]` to `ids[count - 1]`, as many as there are descriptors for. Those are the
   * queue's, which gives them to the pool once they are out; the others stay the caller's. Returns how many.
   * A frame that is empty or longer than its buffer ends the burst. @throws DriverError if it is the first
   */
  txBurst(ids: Uint32Array, count: number): number {
    this.reclaim();
    const { descriptors, mask } = this;
    const first = this.next;
    let frames = this.pushSimple(ids, 0, count);
    while (frames < count && this.push(ids[frames]!)) {
      frames = this.pushSimple(ids, frames + 1, count);
    }
    if (frames === 0) {
      if (count > 0) this.assertFrame(ids[0]!);
      return 0;
    }
    const last = (this.next - 1) & mask;
    const command = last * WORDS + COMMAND;
    descriptors[command] = descriptors[command]! | REPORT;
    this.last[first] = last;
    this.frames[first] = frames;
    this.counters[PACKETS]! += frames;
    this.registers.write(this.queue.TDT, this.next);
    return frames;
  }

  /**
   * Descriptors of frames that are neither empty nor tagged nor large, from `ids[start]` up to the first
   * that is, or for which there is no room. Returns where it stands. A small loop, free of what is rare,
   * leaves the compiler registers for its six arrays.
   */
  private pushSimple(ids: Uint32Array, start: number, count: number): number {
    const { descriptors, addresses, iovas, sent, mask, simple } = this;
    const { info } = this.pool;
    let { next, nextSent } = this;
    const end = Math.min(count, start + ((this.oldest - 1 - next) & mask));
    let bytes = 0;
    let i = start;
    for (; i < end; i++) {
      const id = ids[i]!;
      const frame = info[id]!;
      if (frame === 0 || !(frame <= simple)) break;
      addresses[next << 1] = iovas[id]!;
      descriptors[(next << 2) | COMMAND] = DATA | END_OF_PACKET | frame;
      descriptors[(next << 2) | STATUS] = frame << PAYLEN_SHIFT;
      sent[nextSent] = id;
      next = (next + 1) & mask;
      nextSent = (nextSent + 1) & mask;
      bytes += frame;
    }
    this.next = next;
    this.nextSent = nextSent;
    this.counters[BYTES]! += bytes;
    return i;
  }

  /**
   * Descriptors of any frame: a context if its VLAN is another than before, and one for each page.
   * False if there is no room for all, or if the frame cannot be sent.
   */
  private push(id: number): boolean {
    const { mask, pool, low, next } = this;
    const size = pool.length(id);
    const tag = pool.vlan(id);
    if (size === 0 || size > pool.bufferBytes) return false;
    const contexts = tag !== 0 && tag !== this.context ? 1 : 0;
    const pages = Math.ceil(((low[id]! % PAGE) + size) / PAGE);
    if (((this.oldest - 1 - next) & mask) < contexts + pages) return false;
    if (contexts > 0) this.writeContext(next, tag);
    this.writePages((next + contexts) & mask, id, size, tag === 0 ? DATA : DATA | INSERT_VLAN);
    this.next = (next + contexts + pages) & mask;
    this.sent[this.nextSent] = id;
    this.nextSent = (this.nextSent + 1) & mask;
    this.counters[BYTES]! += size;
    return true;
  }

  /** Take the buffers of the bursts that are out. */
  private reclaim(): void {
    const { descriptors, mask } = this;
    while (this.oldest !== this.next) {
      const last = this.last[this.oldest]!;
      if ((Atomics.load(descriptors, last * WORDS + STATUS) & DONE) === 0) return;
      this.giveBack(this.frames[this.oldest]!);
      this.oldest = (last + 1) & mask;
    }
  }

  private giveBack(frames: number): void {
    const { sent, mask, oldestSent } = this;
    const { buffers } = this.pool;
    const straight = Math.min(frames, mask + 1 - oldestSent);
    buffers.giveIndices(sent, oldestSent, straight);
    if (straight < frames) buffers.giveIndices(sent, 0, frames - straight);
    this.oldestSent = (oldestSent + frames) & mask;
  }

  private assertFrame(id: number): void {
    const { bufferBytes } = this.pool;
    const size = this.pool.length(id);
    if (size > 0 && size <= bufferBytes) return;
    throw new DriverError(
      `buffer ${id} has a frame of ${size} bytes`,
      `1 to ${bufferBytes} for a buffer that the pool gave: pool.setFrame(id, length)`,
    );
  }

  private writePages(first: number, id: number, size: number, command: number): void {
    const { descriptors, mask } = this;
    const [low, high] = [this.low[id]!, this.high[id]!];
    for (let index = first, offset = 0; offset < size; index = (index + 1) & mask) {
      const address = low + offset;
      const bytes = Math.min(PAGE - (address % PAGE), size - offset);
      offset += bytes;
      const at = index * DESCRIPTOR_WORDS;
      descriptors[at] = address;
      descriptors[at + 1] = address < 2 ** 32 ? high : high + 1;
      descriptors[at + COMMAND] = command | (offset === size ? END_OF_PACKET : 0) | bytes;
      descriptors[at + STATUS] = size << PAYLEN_SHIFT;
    }
  }

  private writeContext(index: number, tag: number): void {
    const { descriptors } = this;
    const at = index * DESCRIPTOR_WORDS;
    descriptors[at] = tag << VLAN_SHIFT;
    descriptors[at + 1] = 0;
    descriptors[at + COMMAND] = CONTEXT;
    descriptors[at + STATUS] = 0;
    this.context = tag;
  }
}
