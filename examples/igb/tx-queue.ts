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
   * @throws DriverError for a frame that is empty or longer than its buffer; none is sent then
   */
  txBurst(ids: Uint32Array, count: number): number {
    this.reclaim();
    const { descriptors, addresses, iovas, mask, sent, simple } = this;
    const { info } = this.pool;
    const first = this.next;
    let { nextSent } = this;
    let next = first;
    let room = (this.oldest - 1 - first) & mask;
    let bytes = 0;
    let frames = 0;
    while (frames < count && room > 0) {
      const id = ids[frames]!;
      const frame = info[id]!;
      // Neither empty nor tagged nor large.
      if (frame !== 0 && frame <= simple) {
        addresses[2 * next] = iovas[id]!;
        descriptors[next * DESCRIPTOR_WORDS + COMMAND] = DATA | END_OF_PACKET | frame;
        descriptors[next * DESCRIPTOR_WORDS + STATUS] = frame << PAYLEN_SHIFT;
        next = (next + 1) & mask;
        room--;
        bytes += frame;
      } else {
        const used = this.writeFrame(next, room, id);
        if (used === 0) break;
        next = (next + used) & mask;
        room -= used;
        bytes += frame & LENGTH_MASK;
      }
      sent[nextSent] = id;
      nextSent = (nextSent + 1) & mask;
      frames++;
    }
    if (frames === 0) return 0;
    const last = (next - 1) & mask;
    const command = last * DESCRIPTOR_WORDS + COMMAND;
    descriptors[command] = descriptors[command]! | REPORT;
    this.last[first] = last;
    this.frames[first] = frames;
    this.next = next;
    this.nextSent = nextSent;
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

  /**
   * Descriptors of any frame: a context if its VLAN is another than before, and one for each page.
   * Returns how many; 0 if there is no room for all.
   */
  private writeFrame(first: number, room: number, id: number): number {
    const { mask, pool, low } = this;
    const size = pool.length(id);
    const tag = pool.vlan(id);
    if (!(size > 0 && size <= pool.bufferBytes)) {
      // A context of this burst may have been written, and will not be sent.
      this.context = 0;
      throw invalidFrame(id, size, pool.bufferBytes);
    }
    const contexts = tag !== 0 && tag !== this.context ? 1 : 0;
    const pages = Math.ceil(((low[id]! % PAGE) + size) / PAGE);
    if (room < contexts + pages) return 0;
    if (contexts > 0) this.writeContext(first, tag);
    this.writePages((first + contexts) & mask, id, size, tag === 0 ? DATA : DATA | INSERT_VLAN);
    return contexts + pages;
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

function invalidFrame(id: number, size: number | undefined, bufferBytes: number): DriverError {
  return new DriverError(
    `buffer ${id} has a frame of ${size} bytes`,
    `1 to ${bufferBytes} for a buffer that the pool gave: pool.setFrame(id, length)`,
  );
}
