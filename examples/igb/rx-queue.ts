/**
 * A receive queue: advanced descriptors (7.1.5), one buffer of a pool each. `rxBurst` allocates
 * nothing and writes one doorbell.
 */
import { DESCRIPTOR_BYTES, enableQueue, hasBit, ORDERED, type RingMemory } from './descriptor-ring';
import type { PacketPool } from './packet-pool';
import { QueueCounter } from './queue-counter';
import {
  QUEUE_ENABLE,
  type Registers,
  type RxQueueRegisters,
  SRRCTL_DESCTYPE_ADV_ONEBUF,
  SRRCTL_DROP_EN,
  srrctlBufferSize,
} from './registers';

// As the device writes a descriptor back (7.1.5.2): word 2 is status, word 3 length and VLAN.
const STATUS = 2;
const LENGTH = 3;
const DONE = 1 << 0;
const END_OF_PACKET = 1 << 1;
const VLAN_STRIPPED = 1 << 3;
const ERROR = 1 << 31;
const WHOLE = DONE | END_OF_PACKET | ERROR;
/** Of WHOLE, in a good frame; and what a frame without a VLAN does not have. */
const PLAIN = DONE | END_OF_PACKET;
const NOT_PLAIN = ERROR | VLAN_STRIPPED;
const LENGTH_MASK = 0xffff;

/** Imports are looked up at each use; these are constants in compiled code. */
const ordered = ORDERED;
const has = hasBit;

export class RxQueue<R extends number> {
  private readonly countedPackets = new QueueCounter();
  private readonly countedBytes = new QueueCounter();
  private readonly countedErrors = new QueueCounter();
  private readonly descriptors: Uint32Array;
  private readonly mask: number;
  /** By descriptor: the buffer that it holds. */
  private readonly held: Uint32Array;
  private readonly addresses: BigUint64Array;
  private readonly iovas: BigUint64Array;
  /** Descriptors from `next` up to `tail` are the device's. */
  private next = 0;
  private tail = 0;
  /** The rest of a frame of several descriptors is dropped, too. */
  private skipping = false;

  /** @param memory of `count` descriptors; see `allocateRing` */
  constructor(
    private readonly registers: Registers<R>,
    private readonly queue: RxQueueRegisters<R>,
    private readonly memory: RingMemory,
    private readonly pool: PacketPool,
    count: number,
  ) {
    this.descriptors = memory.u32;
    this.mask = count - 1;
    this.held = new Uint32Array(count);
    this.addresses = memory.u64;
    this.iovas = pool.buffers.iovas;
  }

  /** Frames handed out, and their bytes. */
  get packets(): number {
    return this.countedPackets.value;
  }

  get bytes(): number {
    return this.countedBytes.value;
  }

  /** Frames that did not fit one buffer or had an error; they are dropped. */
  get errors(): number {
    return this.countedErrors.value;
  }

  /** Give the queue buffers and enable it; again after each reset of the function. */
  start(): void {
    const { registers, queue, memory, pool } = this;
    this.release();
    this.skipping = false;
    registers.write(queue.RDBAL, memory.iovaLo);
    registers.write(queue.RDBAH, memory.iovaHi);
    registers.write(queue.RDLEN, (this.mask + 1) * DESCRIPTOR_BYTES);
    const size = srrctlBufferSize(pool.bufferBytes);
    registers.write(queue.SRRCTL, SRRCTL_DESCTYPE_ADV_ONEBUF | SRRCTL_DROP_EN | size);
    registers.write(queue.RDH, 0);
    registers.write(queue.RDT, 0);
    enableQueue(registers, queue.RXDCTL, 'receive');
    this.refill();
  }

  stop(): void {
    this.registers.clear(this.queue.RXDCTL, QUEUE_ENABLE);
  }

  /**
   * Up to `max` received frames into `ids`, which the caller owns from then on; lengths and VLANs are
   * in the pool. Their places are filled from the pool, now or, if it is empty, later. Returns how many.
   */
  rxBurst(ids: Uint32Array, max: number): number {
    const { descriptors, next } = this;
    let count = 0;
    // Once more after what is dropped.
    while (count < max && this.next !== this.tail) {
      if (!has(descriptors, (this.next << 2) | STATUS, DONE)) break;
      if (!this.skipping) count = this.takeWhole(ids, count, max);
      if (count < max) this.dropOthers();
    }
    if (this.next === next) return 0;
    this.countedPackets.add(count);
    this.refill();
    return count;
  }

  /**
   * Whole, good frames into `ids` from `start` on, up to the first that is not, or is not there yet.
   * Returns where the next would go. Four frames at a time as long as they are plain: what the compiler
   * knows of an array, it forgets as a loop turns.
   */
  private takeWhole(ids: Uint32Array, start: number, max: number): number {
    const { descriptors, held } = this;
    const { info } = this.pool;
    const mask = this.mask | 0;
    let next = this.next | 0;
    const there = ordered ? (this.tail - next) & mask : 1;
    const end = Math.min(max | 0, ((start | 0) + there) | 0);
    let bytes = 0;
    let i = start | 0;
    // Up to the end of the ring, places follow each other.
    const straight = Math.min(end, ((start | 0) + mask + 1 - next) | 0);
    for (; ((i + 4) | 0) <= straight; i = (i + 4) | 0) {
      const at = next << 2;
      const statusA = descriptors[at | STATUS]!;
      const statusB = descriptors[(at + 4) | STATUS]!;
      const statusC = descriptors[(at + 8) | STATUS]!;
      const statusD = descriptors[(at + 12) | STATUS]!;
      if ((statusA & statusB & statusC & statusD & PLAIN) !== PLAIN) break;
      if (((statusA | statusB | statusC | statusD) & NOT_PLAIN) !== 0) break;
      const a = held[next]! | 0;
      const b = held[(next + 1) | 0]! | 0;
      const c = held[(next + 2) | 0]! | 0;
      const d = held[(next + 3) | 0]! | 0;
      ids[i] = a;
      ids[(i + 1) | 0] = b;
      ids[(i + 2) | 0] = c;
      ids[(i + 3) | 0] = d;
      const lengthA = descriptors[at | LENGTH]! & LENGTH_MASK;
      const lengthB = descriptors[(at + 4) | LENGTH]! & LENGTH_MASK;
      const lengthC = descriptors[(at + 8) | LENGTH]! & LENGTH_MASK;
      const lengthD = descriptors[(at + 12) | LENGTH]! & LENGTH_MASK;
      info[a] = lengthA;
      info[b] = lengthB;
      info[c] = lengthC;
      info[d] = lengthD;
      bytes = (bytes + lengthA + lengthB + lengthC + lengthD) | 0;
      next = (next + 4) | 0;
    }
    next = next & mask;
    for (; i < end; i++) {
      const status = descriptors[(next << 2) | STATUS]!;
      if ((status & WHOLE) !== PLAIN) break;
      const id = held[next]! | 0;
      const word = descriptors[(next << 2) | LENGTH]!;
      info[id] = status & VLAN_STRIPPED ? word : word & LENGTH_MASK;
      bytes = (bytes + (word & LENGTH_MASK)) | 0;
      ids[i] = id;
      next = (next + 1) & mask;
    }
    this.next = next;
    this.countedBytes.add(bytes);
    return i;
  }

  /** Frames that had an error, or take more than one buffer: all their parts, as far as they are there. */
  private dropOthers(): void {
    const { descriptors, mask } = this;
    while (this.next !== this.tail) {
      const status = Atomics.load(descriptors, (this.next << 2) | STATUS);
      if ((status & DONE) === 0) return;
      if (!this.skipping && (status & WHOLE) === PLAIN) return;
      this.drop(this.held[this.next]!, status);
      this.next = (this.next + 1) & mask;
    }
  }

  private drop(id: number, status: number): void {
    const last = (status & END_OF_PACKET) !== 0;
    if (last) this.countedErrors.add(1);
    this.skipping = !last;
    this.pool.give(id);
  }

  /** Fill all places but one, for head equal to tail means empty. */
  private refill(): void {
    const { mask, tail } = this;
    const wanted = (this.next - tail - 1) & mask;
    const straight = Math.min(wanted, mask + 1 - tail);
    let count = this.post(tail, straight);
    if (count === straight && straight < wanted) count += this.post(0, wanted - straight);
    if (count === 0) return;
    this.tail = (tail + count) & mask;
    this.registers.write(this.queue.RDT, this.tail);
  }

  /** Give `count` descriptors from `first` on a buffer each. Returns how many there were. */
  private post(first: number, count: number): number {
    const { held, addresses, iovas } = this;
    const taken = this.pool.buffers.takeIndices(held, first, count);
    const end = (first + taken) | 0;
    let i = first | 0;
    // As the device reads a descriptor (7.1.5.1): packet address, no header address.
    for (; ((i + 4) | 0) <= end; i = (i + 4) | 0) {
      const at = i << 1;
      addresses[at] = iovas[held[i]!]!;
      addresses[at | 1] = 0n;
      addresses[(at + 2) | 0] = iovas[held[(i + 1) | 0]!]!;
      addresses[(at + 2) | 1] = 0n;
      addresses[(at + 4) | 0] = iovas[held[(i + 2) | 0]!]!;
      addresses[(at + 4) | 1] = 0n;
      addresses[(at + 6) | 0] = iovas[held[(i + 3) | 0]!]!;
      addresses[(at + 6) | 1] = 0n;
    }
    for (; i < end; i++) {
      addresses[i << 1] = iovas[held[i]!]!;
      addresses[(i << 1) | 1] = 0n;
    }
    return taken;
  }

  /** Back to the pool with what the device had. */
  private release(): void {
    while (this.next !== this.tail) {
      this.pool.give(this.held[this.next]!);
      this.next = (this.next + 1) & this.mask;
    }
    this.next = 0;
    this.tail = 0;
  }
}
