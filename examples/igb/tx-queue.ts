/**
 * A transmit queue: advanced descriptors (7.2.2), one frame in one buffer each. `txBurst` allocates
 * nothing, writes one doorbell, and asks the device to report the last descriptor of a burst only.
 */
import { POOL_OUT } from 'vfio';
import {
  DESCRIPTOR_BYTES,
  DESCRIPTOR_WORDS,
  enableQueue,
  hasBit,
  type RingMemory,
} from './descriptor-ring';
import { DriverError } from './errors';
import type { PacketPool } from './packet-pool';
import { QueueCounter } from './queue-counter';
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
/** Imports are looked up at each use; these are constants in compiled code. */
const WORDS = DESCRIPTOR_WORDS;
const has = hasBit;
const OUT = POOL_OUT;
/** The link of the first buffer of a burst, until it is back in the pool. */
const NONE = -1;

export class TxQueue<R extends number> {
  private readonly countedPackets = new QueueCounter();
  private readonly countedBytes = new QueueCounter();
  private readonly descriptors: Uint32Array;
  private readonly mask: number;
  private readonly addresses: BigUint64Array;
  private readonly iovas: BigUint64Array;
  private readonly low: Uint32Array;
  private readonly high: Uint32Array;
  /** The longest frame that takes one descriptor and no more thought. */
  private readonly simple: number;
  /**
   * By the first descriptor of a burst: its last one, how many frames it has, and its first and last
   * buffer. The buffers of a burst are chained in the pool's links, so that they come back in one step.
   */
  private readonly last: Uint16Array;
  private readonly frames: Uint16Array;
  private readonly firstBuffer: Uint32Array;
  private readonly lastBuffer: Uint32Array;
  private next = 0;
  private oldest = 0;
  /** Frames of all bursts under way. */
  private underway = 0;
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
    this.last = new Uint16Array(count);
    this.frames = new Uint16Array(count);
    this.firstBuffer = new Uint32Array(count);
    this.lastBuffer = new Uint32Array(count);
    this.addresses = memory.u64;
    this.iovas = pool.buffers.iovas;
    this.low = pool.buffers.iovaLo;
    this.high = pool.buffers.iovaHi;
  }

  /** Frames given to the device, and their bytes. */
  get packets(): number {
    return this.countedPackets.value;
  }

  get bytes(): number {
    return this.countedBytes.value;
  }

  /** Enable the queue, empty; again after each reset of the function, which loses what was in it. */
  start(): void {
    const { registers, queue, memory } = this;
    while (this.oldest !== this.next) this.giveOldest();
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
    return this.underway;
  }

  /** Descriptors that are free now: one a frame, and one more wherever the VLAN changes. */
  get free(): number {
    this.reclaim();
    return this.mask - ((this.next - this.oldest) & this.mask);
  }

  /**
   * Send the frames `ids[0]` to `ids[count - 1]`, as many as there are descriptors for. Those are the
   * queue's, which gives them to the pool once they are out; the others stay the caller's. Returns how many.
   * A frame that is empty, longer than its buffer, or in a buffer that is not the caller's ends the burst.
   * @throws DriverError if it is the first
   */
  txBurst(ids: Uint32Array, count: number): number {
    this.reclaim();
    const { descriptors, mask } = this;
    const first = this.next;
    let frames = this.pushSimple(ids, 0, count) | 0;
    while (frames < count && this.push(ids[frames]!, frames === 0 ? NONE : ids[frames - 1]!)) {
      frames = this.pushSimple(ids, frames + 1, count) | 0;
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
    this.firstBuffer[first] = ids[0]!;
    this.lastBuffer[first] = ids[frames - 1]!;
    this.underway += frames;
    this.countedPackets.add(frames);
    this.registers.write(this.queue.TDT, this.next);
    return frames;
  }

  /**
   * Descriptors of frames that are neither empty nor tagged nor large, from `ids[start]` up to the first
   * that is, or for which there is no room. Returns where it stands. Small loops, free of what is rare,
   * leave the compiler registers for their six arrays; four frames at a time, for what it knows of an
   * array, it forgets as a loop turns. Of 31 bits and a sign, numbers stay in registers, too.
   */
  private pushSimple(ids: Uint32Array, start: number, count: number): number {
    const { descriptors, addresses, iovas } = this;
    const { info, buffers } = this.pool;
    const { links } = buffers;
    const mask = this.mask | 0;
    const simple = this.simple | 0;
    const length = ids.length | 0;
    let next = this.next | 0;
    let before = start === 0 ? NONE : ids[start - 1]! | 0;
    const room = ((start | 0) + ((this.oldest - 1 - next) & mask)) | 0;
    const end = Math.min(count | 0, length, room);
    let bytes = 0;
    let i = start | 0;
    for (; ((i + 4) | 0) <= end; i = (i + 4) | 0) {
      const a = ids[i]! | 0;
      const b = ids[(i + 1) | 0]! | 0;
      const c = ids[(i + 2) | 0]! | 0;
      const d = ids[(i + 3) | 0]! | 0;
      const frameA = info[a]! | 0;
      const frameB = info[b]! | 0;
      const frameC = info[c]! | 0;
      const frameD = info[d]! | 0;
      // Negative if one of them is.
      const least = (frameA - 1) | (frameB - 1) | (frameC - 1) | (frameD - 1);
      const spare = (simple - frameA) | (simple - frameB) | (simple - frameC) | (simple - frameD);
      if ((least | spare) < 0) break;
      // Chained one by one, a buffer that stands in `ids` twice is found; those before it are undone.
      if (links[a] !== OUT) break;
      links[a] = before;
      if (links[b] !== OUT) {
        links[a] = OUT;
        break;
      }
      links[b] = a;
      if (links[c] !== OUT) {
        links[a] = links[b] = OUT;
        break;
      }
      links[c] = b;
      if (links[d] !== OUT) {
        links[a] = links[b] = links[c] = OUT;
        break;
      }
      links[d] = c;
      before = d;
      bytes = (bytes + frameA + frameB + frameC + frameD) | 0;
      descriptors[(next << 2) | COMMAND] = DATA | END_OF_PACKET | frameA;
      descriptors[(next << 2) | STATUS] = frameA << PAYLEN_SHIFT;
      const second = (next + 1) & mask;
      descriptors[(second << 2) | COMMAND] = DATA | END_OF_PACKET | frameB;
      descriptors[(second << 2) | STATUS] = frameB << PAYLEN_SHIFT;
      const third = (next + 2) & mask;
      descriptors[(third << 2) | COMMAND] = DATA | END_OF_PACKET | frameC;
      descriptors[(third << 2) | STATUS] = frameC << PAYLEN_SHIFT;
      const fourth = (next + 3) & mask;
      descriptors[(fourth << 2) | COMMAND] = DATA | END_OF_PACKET | frameD;
      descriptors[(fourth << 2) | STATUS] = frameD << PAYLEN_SHIFT;
      addresses[next << 1] = iovas[a]!;
      addresses[second << 1] = iovas[b]!;
      addresses[third << 1] = iovas[c]!;
      addresses[fourth << 1] = iovas[d]!;
      next = (next + 4) & mask;
    }
    for (; i < end; i++) {
      const id = ids[i]! | 0;
      const frame = info[id]! | 0;
      if (frame <= 0 || frame > simple || links[id] !== OUT) break;
      addresses[next << 1] = iovas[id]!;
      descriptors[(next << 2) | COMMAND] = DATA | END_OF_PACKET | frame;
      descriptors[(next << 2) | STATUS] = frame << PAYLEN_SHIFT;
      links[id] = before;
      before = id;
      next = (next + 1) & mask;
      bytes = (bytes + frame) | 0;
    }
    this.next = next;
    this.countedBytes.add(bytes);
    return i;
  }

  /**
   * Descriptors of any frame: a context if its VLAN is another than before, and one for each page.
   * False if there is no room for all, or if the frame cannot be sent. `before`: as in `links`.
   */
  private push(id: number, before: number): boolean {
    const { mask, pool, low, next } = this;
    const { links } = pool.buffers;
    const size = pool.length(id);
    const tag = pool.vlan(id);
    if (size === 0 || size > pool.bufferBytes || links[id] !== OUT) return false;
    const contexts = tag !== 0 && tag !== this.context ? 1 : 0;
    const pages = Math.ceil(((low[id]! % PAGE) + size) / PAGE);
    if (((this.oldest - 1 - next) & mask) < contexts + pages) return false;
    if (contexts > 0) this.writeContext(next, tag);
    this.writePages((next + contexts) & mask, id, size, tag === 0 ? DATA : DATA | INSERT_VLAN);
    this.next = (next + contexts + pages) & mask;
    links[id] = before;
    this.countedBytes.add(size);
    return true;
  }

  /** Give the buffers of the bursts that are out back to the pool. */
  private reclaim(): void {
    const { descriptors } = this;
    while (this.oldest !== this.next) {
      const last = this.last[this.oldest]!;
      if (!has(descriptors, last * WORDS + STATUS, DONE)) return;
      this.giveOldest();
    }
  }

  private giveOldest(): void {
    const { oldest } = this;
    const frames = this.frames[oldest]!;
    this.pool.buffers.giveChain(this.lastBuffer[oldest]!, this.firstBuffer[oldest]!, frames);
    this.underway -= frames;
    this.oldest = (this.last[oldest]! + 1) & this.mask;
  }

  private assertFrame(id: number): void {
    const { bufferBytes, buffers } = this.pool;
    const size = this.pool.length(id);
    if (size > 0 && size <= bufferBytes) {
      if (buffers.links[id] === OUT) return; // There is no room.
      throw new DriverError(
        `buffer ${id} is not the caller's`,
        'it is in the pool, or sent already: take another',
      );
    }
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
