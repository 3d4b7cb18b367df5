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
const LENGTH_MASK = 0xffff;
const DONE = 1 << 0;

// A context descriptor (7.2.2.2), of index 0: word 0 has the VLAN tag in its upper half.
const CONTEXT = (2 << 20) | (1 << 29); // DTYP = context, DEXT
const VLAN_SHIFT = 16;

/**
 * What a descriptor points to is in one page: QEMU loses a frame whose piece is not in one piece of
 * the guest's memory. Pools have no buffers on two pages but those that are larger than one.
 */
const PAGE = 4096;

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
   * @throws DriverError for a frame that is empty or longer than its buffer; none is sent then
   */
  txBurst(ids: Uint32Array, count: number): number {
    this.reclaim();
    const { descriptors, addresses, iovas, mask, sent } = this;
    const { info, bufferBytes } = this.pool;
    const first = this.next;
    const end = (this.oldest - 1) & mask;
    let { nextSent, context } = this;
    let bytes = 0;
    let next = first;
    let at = 0;
    let frames = 0;
    while (frames < count) {
      const id = ids[frames]!;
      const frame = info[id]!;
      const size = frame & LENGTH_MASK;
      if (!(size > 0 && size <= bufferBytes)) throw invalidFrame(id, size, bufferBytes);
      const tag = frame >>> VLAN_SHIFT;
      const pages = bufferBytes > PAGE ? pagesOf(this.low[id]!, size) : 1;
      const newContext = tag !== 0 && tag !== context;
      if (((end - next) & mask) < (newContext ? pages + 1 : pages)) break;
      if (newContext) {
        this.writeContext(next, tag);
        context = tag;
        next = (next + 1) & mask;
      }
      const command = tag === 0 ? DATA : DATA | INSERT_VLAN;
      if (pages === 1) {
        at = next * DESCRIPTOR_WORDS;
        addresses[2 * next] = iovas[id]!;
        descriptors[at + COMMAND] = command | END_OF_PACKET | size;
        descriptors[at + STATUS] = size << PAYLEN_SHIFT;
      } else {
        next = this.writePages(next, id, size, command);
        at = next * DESCRIPTOR_WORDS;
      }
      sent[nextSent] = id;
      nextSent = (nextSent + 1) & mask;
      next = (next + 1) & mask;
      bytes += size;
      frames++;
    }
    if (frames === 0) return 0;
    descriptors[at + COMMAND] = descriptors[at + COMMAND]! | REPORT;
    this.last[first] = (next - 1) & mask;
    this.frames[first] = frames;
    this.next = next;
    this.nextSent = nextSent;
    this.context = context;
    this.counters[PACKETS]! += frames;
    this.counters[BYTES]! += bytes;
    this.registers.write(this.queue.TDT, next);
    return frames;
  }

  /** Take the buffers of the bursts that are out. */
  private reclaim(): void {
    const { descriptors, mask } = this;
    while (this.oldest !== this.next) {
      const last = this.last[this.oldest]!;
      if ((Atomics.load(descriptors, last * DESCRIPTOR_WORDS + STATUS) & DONE) === 0) return;
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

  /** A descriptor for each page of a frame. Returns the last. */
  private writePages(first: number, id: number, size: number, command: number): number {
    const { descriptors, mask } = this;
    const [low, high] = [this.low[id]!, this.high[id]!];
    let index = first;
    for (let offset = 0; ; index = (index + 1) & mask) {
      const address = low + offset;
      const bytes = Math.min(PAGE - (address % PAGE), size - offset);
      const last = offset + bytes === size;
      const at = index * DESCRIPTOR_WORDS;
      descriptors[at] = address;
      descriptors[at + 1] = address < 2 ** 32 ? high : high + 1;
      descriptors[at + COMMAND] = command | (last ? END_OF_PACKET : 0) | bytes;
      descriptors[at + STATUS] = size << PAYLEN_SHIFT;
      if (last) return index;
      offset += bytes;
    }
  }

  private writeContext(index: number, tag: number): void {
    const { descriptors } = this;
    const at = index * DESCRIPTOR_WORDS;
    descriptors[at] = tag << VLAN_SHIFT;
    descriptors[at + 1] = 0;
    descriptors[at + COMMAND] = CONTEXT;
    descriptors[at + STATUS] = 0;
  }
}

/** Pages that `size` bytes from `address` on are in. */
function pagesOf(address: number, size: number): number {
  return Math.ceil(((address % PAGE) + size) / PAGE);
}

function invalidFrame(id: number, size: number | undefined, bufferBytes: number): DriverError {
  return new DriverError(
    `buffer ${id} has a frame of ${size} bytes`,
    `1 to ${bufferBytes} for a buffer that the pool gave: pool.setFrame(id, length)`,
  );
}
