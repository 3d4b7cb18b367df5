/** What receive and transmit queues share: descriptors in DMA memory, and a queue's enable bit. */
import type { DmaBuffer } from 'vfio';
import { DriverError } from './errors';
import { QUEUE_ENABLE, type Registers } from './registers';

export const DESCRIPTOR_BYTES = 16;
export const DESCRIPTOR_WORDS = 4;
/** RDLEN and TDLEN are multiples of 128 bytes, and at most 32768 descriptors (8.10.7, 8.12.8). */
const MIN_COUNT = 8;
const MAX_COUNT = 32768;

/** Loads are not reordered: what is read after a bit that the device has set is what it wrote before. */
export const ORDERED = process.arch === 'x64';

/**
 * Whether the device has set a bit in a word of a descriptor, which is not cleared before the descriptor
 * is given back. An atomic load is a call, and needed only for a bit that is not there: who waits for it
 * must not be told for ever what a plain load once found.
 */
export function hasBit(words: Uint32Array, index: number, bit: number): boolean {
  if (ORDERED && (words[index]! & bit) !== 0) return true;
  return (Atomics.load(words, index) & bit) !== 0;
}

/** What a ring needs of a DmaBuffer. */
export type RingMemory = Pick<DmaBuffer, 'u32' | 'u64' | 'iovaLo' | 'iovaHi'>;

/** What a ring needs of an AddressSpace. */
export interface RingSpace {
  alloc(size: number): Promise<RingMemory>;
}

/** Bytes of a ring. @throws DriverError unless `count` is a power of two that queues can have */
export function ringBytes(count: number): number {
  if (count < MIN_COUNT || count > MAX_COUNT || (count & (count - 1)) !== 0) {
    throw new DriverError(
      `ring of ${count} descriptors`,
      `use a power of two from ${MIN_COUNT} to ${MAX_COUNT}`,
    );
  }
  return count * DESCRIPTOR_BYTES;
}

/** Memory of a ring, freed as the device closes. */
export async function allocateRing(dma: RingSpace, count: number): Promise<RingMemory> {
  return dma.alloc(ringBytes(count));
}

/** Set a queue's enable bit and see that the device has taken it (8.10 RXDCTL, 8.12 TXDCTL). */
export function enableQueue<R extends number>(
  registers: Registers<R>,
  control: R,
  name: string,
): void {
  registers.set(control, QUEUE_ENABLE);
  for (let attempt = 0; attempt < 1000; attempt++) {
    if (registers.read(control) & QUEUE_ENABLE) return;
  }
  throw new DriverError(`${name}: the queue did not become enabled`, 'the function is in reset');
}
