/**
 * A receive queue: advanced descriptors (7.1.5), one buffer of a pool each. `rxBurst` allocates
 * nothing and writes one doorbell.
 */
import {
  DESCRIPTOR_BYTES,
  DESCRIPTOR_WORDS,
  enableQueue,
  type RingMemory,
} from './descriptor-ring';
import { BYTES, ERRORS, newCounters, PACKETS, type PacketPool } from './packet-pool';
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
const VLAN_SHIFT = 16;

export class RxQueue<R extends number> {
  private readonly counters = newCounters();
  private readonly descriptors: Uint32Array;
  private readonly mask: number;
  /** By descriptor: the buffer that it holds. */
  private readonly held: Uint32Array;
  private readonly fresh: Uint32Array;
  private readonly low: Uint32Array;
  private readonly high: Uint32Array;
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
    this.fresh = new Uint32Array(count);
    this.low = pool.buffers.iovaLo;
    this.high = pool.buffers.iovaHi;
  }

  /** Frames handed out, and their bytes. */
  get packets(): number {
    return this.counters[PACKETS]!;
  }

  get bytes(): number {
    return this.counters[BYTES]!;
  }

  /** Frames that did not fit one buffer or had an error; they are dropped. */
  get errors(): number {
    return this.counters[ERRORS]!;
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
    const { descriptors, held, mask } = this;
    const { length, vlan } = this.pool;
    let next = this.next;
    let bytes = 0;
    let count = 0;
    while (count < max && next !== this.tail) {
      const at = next * DESCRIPTOR_WORDS;
      // With what follows after it: the device writes it last.
      const status = Atomics.load(descriptors, at + STATUS);
      if ((status & DONE) === 0) break;
      const id = held[next]!;
      next = (next + 1) & mask;
      if ((status & (END_OF_PACKET | ERROR)) !== END_OF_PACKET || this.skipping) {
        this.drop(id, status);
        continue;
      }
      const word = descriptors[at + LENGTH]!;
      length[id] = word;
      vlan[id] = status & VLAN_STRIPPED ? word >>> VLAN_SHIFT : 0;
      bytes += word & 0xffff;
      ids[count++] = id;
    }
    this.next = next;
    this.counters[PACKETS]! += count;
    this.counters[BYTES]! += bytes;
    if (next !== ((this.tail + 1) & mask)) this.refill();
    return count;
  }

  private drop(id: number, status: number): void {
    const last = (status & END_OF_PACKET) !== 0;
    if (last) this.counters[ERRORS]!++;
    this.skipping = !last;
    this.pool.give(id);
  }

  /** Fill all places but one, for head equal to tail means empty. */
  private refill(): void {
    const { descriptors, held, fresh, mask, low, high } = this;
    const count = this.pool.buffers.takeIndices(fresh, (this.next - this.tail - 1) & mask);
    if (count === 0) return;
    let tail = this.tail;
    for (let i = 0; i < count; i++) {
      const id = fresh[i]!;
      // As the device reads a descriptor (7.1.5.1): packet address, no header address.
      const at = tail * DESCRIPTOR_WORDS;
      descriptors[at] = low[id]!;
      descriptors[at + 1] = high[id]!;
      descriptors[at + 2] = 0;
      descriptors[at + 3] = 0;
      held[tail] = id;
      tail = (tail + 1) & mask;
    }
    this.tail = tail;
    this.registers.write(this.queue.RDT, tail);
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
