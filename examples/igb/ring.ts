/**
 * Descriptor rings in DMA memory: advanced descriptors (7.1.5, 7.2.2), one 2 KiB buffer each.
 *
 * The hot path allocates nothing. Addresses stand in tables as low and high words, and the words
 * that the device writes are read with `Atomics.load`, so that what follows is not read before them.
 */
import type { AddressSpace, DmaBuffer } from 'vfio';
import { DriverError } from './errors';
import {
  QUEUE_ENABLE,
  type Registers,
  type RxQueueRegisters,
  SRRCTL_BSIZEPKT_2K,
  SRRCTL_DESCTYPE_ADV_ONEBUF,
  SRRCTL_DROP_EN,
  type TxQueueRegisters,
} from './registers';

export const BUFFER_BYTES = 2048;
const BUFFER_WORDS = BUFFER_BYTES / 4;
const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_WORDS = 4;

// Receive, as the device writes it back (7.1.5.2): word 2 is status, word 3 length and VLAN.
const RX_STATUS = 2;
const RX_LENGTH = 3;
const RX_DONE = 1 << 0;
const RX_END_OF_PACKET = 1 << 1;
const RX_ERROR = 1 << 31;

// Transmit data (7.2.2.3): word 2 is command, type and length; word 3 payload length, then status.
const TX_COMMAND = 2;
const TX_STATUS = 3;
const TX_DATA = (3 << 20) | (1 << 29); // DTYP = data, DEXT
const TX_WHOLE_FRAME = (1 << 24) | (1 << 25) | (1 << 27); // EOP, IFCS, RS
const TX_PAYLEN_SHIFT = 14;
const TX_DONE = 1 << 0;

/** Takes received frames: `length` bytes from word `index` of `words`, valid during the call. */
export interface FrameSink {
  frame(words: Uint32Array, index: number, length: number): void;
}

/** The two words of a transmit descriptor that depend on the frame only. */
export function txCommand(length: number): number {
  return (TX_DATA | TX_WHOLE_FRAME | length) >>> 0;
}

export function txOptions(length: number): number {
  return (length << TX_PAYLEN_SHIFT) >>> 0;
}

/** Length of a whole, good frame in a written-back receive descriptor; 0 for any other; -1 if not done. */
export function rxLength(status: number, lengthWord: number): number {
  if ((status & RX_DONE) === 0) return -1;
  return (status & (RX_END_OF_PACKET | RX_ERROR)) === RX_END_OF_PACKET ? lengthWord & 0xffff : 0;
}

/** Memory of a ring, freed as the device closes: descriptors, buffers, the buffers' addresses as word pairs. */
class RingMemory {
  readonly descriptors: Uint32Array;
  readonly buffers: Uint32Array;
  readonly low: Uint32Array;
  readonly high: Uint32Array;

  private constructor(
    readonly count: number,
    readonly ring: DmaBuffer,
    data: DmaBuffer,
  ) {
    this.descriptors = ring.u32;
    this.buffers = data.u32;
    this.low = new Uint32Array(count);
    this.high = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const address = data.iova + BigInt(i * BUFFER_BYTES);
      this.low[i] = Number(address & 0xffff_ffffn);
      this.high[i] = Number(address >> 32n);
    }
  }

  static async create(dma: AddressSpace, count: number): Promise<RingMemory> {
    if (count < 8 || (count & (count - 1)) !== 0) {
      throw new DriverError(`ring of ${count} descriptors`, 'use a power of two from 8 up');
    }
    const ring = await dma.alloc(count * DESCRIPTOR_BYTES);
    return new RingMemory(count, ring, await dma.alloc(count * BUFFER_BYTES));
  }
}

/** Set a queue's enable bit and see that the device has taken it (8.10 RXDCTL, 8.12 TXDCTL). */
function enableQueue<R extends number>(registers: Registers<R>, control: R, name: string): void {
  registers.set(control, QUEUE_ENABLE);
  for (let attempt = 0; attempt < 1000; attempt++) {
    if (registers.read(control) & QUEUE_ENABLE) return;
  }
  throw new DriverError(`${name}: the queue did not become enabled`, 'the function is in reset');
}

export class RxRing<R extends number> {
  private next = 0;
  /** Frames that did not fit one buffer or had an error. */
  dropped = 0;

  private constructor(
    private readonly registers: Registers<R>,
    private readonly queue: RxQueueRegisters<R>,
    private readonly memory: RingMemory,
  ) {}

  static async create<R extends number>(
    registers: Registers<R>,
    queue: RxQueueRegisters<R>,
    dma: AddressSpace,
    count: number,
  ): Promise<RxRing<R>> {
    return new RxRing(registers, queue, await RingMemory.create(dma, count));
  }

  /** Give the queue all buffers and enable it; again after each reset of the function. */
  start(): void {
    const { registers, queue, memory } = this;
    for (let i = 0; i < memory.count; i++) this.refill(i);
    this.next = 0;
    registers.write(queue.RDBAL, memory.ring.iovaLo);
    registers.write(queue.RDBAH, memory.ring.iovaHi);
    registers.write(queue.RDLEN, memory.count * DESCRIPTOR_BYTES);
    const oneBuffer = SRRCTL_DESCTYPE_ADV_ONEBUF | SRRCTL_BSIZEPKT_2K;
    registers.write(queue.SRRCTL, oneBuffer | SRRCTL_DROP_EN);
    registers.write(queue.RDH, 0);
    registers.write(queue.RDT, 0);
    enableQueue(registers, queue.RXDCTL, 'receive');
    // Head equal to tail means empty, so one descriptor stays with the driver.
    registers.write(queue.RDT, memory.count - 1);
  }

  stop(): void {
    this.registers.clear(this.queue.RXDCTL, QUEUE_ENABLE);
  }

  /** Hand up to `budget` received frames to `sink` and their buffers back to the device. Returns how many. */
  reap(sink: FrameSink, budget: number): number {
    const { descriptors, buffers, count } = this.memory;
    let next = this.next;
    let done = 0;
    while (done < budget) {
      const at = next * DESCRIPTOR_WORDS;
      const status = Atomics.load(descriptors, at + RX_STATUS);
      const length = rxLength(status, descriptors[at + RX_LENGTH]!);
      if (length < 0) break;
      if (length > 0) sink.frame(buffers, next * BUFFER_WORDS, length);
      else this.dropped++;
      this.refill(next);
      next = (next + 1) & (count - 1);
      done++;
    }
    if (done > 0) {
      this.next = next;
      this.registers.write(this.queue.RDT, (next - 1) & (count - 1));
    }
    return done;
  }

  /** The form in which the device reads a descriptor (7.1.5.1): packet address, no header address. */
  private refill(index: number): void {
    const { descriptors, low, high } = this.memory;
    const at = index * DESCRIPTOR_WORDS;
    descriptors[at] = low[index]!;
    descriptors[at + 1] = high[index]!;
    descriptors[at + 2] = 0;
    descriptors[at + 3] = 0;
  }
}

export class TxRing<R extends number> {
  /** The buffers; a frame starts at the word that `claim` returns. */
  readonly words: Uint32Array;
  private next = 0;
  private oldest = 0;

  private constructor(
    private readonly registers: Registers<R>,
    private readonly queue: TxQueueRegisters<R>,
    private readonly memory: RingMemory,
  ) {
    this.words = memory.buffers;
  }

  static async create<R extends number>(
    registers: Registers<R>,
    queue: TxQueueRegisters<R>,
    dma: AddressSpace,
    count: number,
  ): Promise<TxRing<R>> {
    return new TxRing(registers, queue, await RingMemory.create(dma, count));
  }

  /** Enable the queue, empty; again after each reset of the function, which loses what was in it. */
  start(): void {
    const { registers, queue, memory } = this;
    this.next = 0;
    this.oldest = 0;
    registers.write(queue.TDBAL, memory.ring.iovaLo);
    registers.write(queue.TDBAH, memory.ring.iovaHi);
    registers.write(queue.TDLEN, memory.count * DESCRIPTOR_BYTES);
    registers.write(queue.TDH, 0);
    registers.write(queue.TDT, 0);
    enableQueue(registers, queue.TXDCTL, 'transmit');
  }

  stop(): void {
    this.registers.clear(this.queue.TXDCTL, QUEUE_ENABLE);
  }

  /** Frames given to the device that it has not sent yet. */
  get pending(): number {
    const { descriptors, count } = this.memory;
    while (this.oldest !== this.next) {
      const status = Atomics.load(descriptors, this.oldest * DESCRIPTOR_WORDS + TX_STATUS);
      if ((status & TX_DONE) === 0) break;
      this.oldest = (this.oldest + 1) & (count - 1);
    }
    return (this.next - this.oldest) & (count - 1);
  }

  /** Frames that can be pushed now. */
  get free(): number {
    return this.memory.count - 1 - this.pending;
  }

  /** The word at which the next frame is to be written. The caller has seen `free` > 0. */
  claim(): number {
    return this.next * BUFFER_WORDS;
  }

  /** Queue the claimed buffer with a frame of `length` bytes; the device sees it at `kick`. */
  push(length: number): void {
    const { descriptors, low, high, count } = this.memory;
    const at = this.next * DESCRIPTOR_WORDS;
    descriptors[at] = low[this.next]!;
    descriptors[at + 1] = high[this.next]!;
    descriptors[at + TX_COMMAND] = txCommand(length);
    descriptors[at + TX_STATUS] = txOptions(length);
    this.next = (this.next + 1) & (count - 1);
  }

  kick(): void {
    this.registers.write(this.queue.TDT, this.next);
  }
}
