/** DMA memory that another thread of the process has mapped, divided up here. */
import { closedError, shown, systemError, VfioError } from '../errors';
import { native } from '../native';
import { attachRange } from '../thread-range';
import { assertAlignment } from './alignment';
import type { ArenaAllocOptions } from './arena';
import { MIN_ALIGNMENT, type Piece, pieceOf, type SlabMemory } from './piece';
import { createPool, type DmaPool, type PoolOptions } from './pool';

/** What `buffer.share()` gives: numbers, to be posted to a worker. */
export interface SharedMemoryId {
  readonly iova: bigint;
  /** Bytes. */
  readonly size: number;
  /** The addon's number for the memory. */
  readonly range: number;
}

/** A piece of attached memory. Its views are of length 0 once that is closed. */
export interface MemoryPiece extends Piece, SlabMemory {
  readonly size: number;
}

/**
 * The memory in this thread, until it is closed or the thread ends. Devices reach it as long as the
 * thread that shared it has its buffer open.
 * @throws EBADF if the buffer was closed meanwhile, ERR_VFIO_INVALID_ARGUMENT in the thread that shared it
 */
export function attachMemory(shared: SharedMemoryId): AttachedMemory {
  const { iova, size, range } = shared ?? {};
  if (typeof iova !== 'bigint' || iova < 0n || !Number.isSafeInteger(size) || size <= 0) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'this is no shared DMA memory', {
      hint: 'pass what buffer.share() returned in the other thread',
    });
  }
  attachRange(range, 'DMA memory');
  const memory = native.rangeBuffer(range, 0, size);
  if (typeof memory !== 'number') return new AttachedMemory({ iova, size, range }, memory);
  native.rangeRelease(range);
  throw systemError(memory, 'a view of DMA memory', {});
}

export class AttachedMemory implements Disposable {
  readonly iova: bigint;
  readonly size: number;
  readonly #range: number;
  readonly #u8: Uint8Array<ArrayBuffer>;
  #used = 0;
  #closed = false;

  /** Made by `attachMemory`. */
  constructor({ iova, size, range }: SharedMemoryId, memory: ArrayBuffer) {
    this.iova = iova;
    this.size = size;
    this.#range = range;
    this.#u8 = new Uint8Array(memory);
  }

  /**
   * The next `size` bytes, on whole pages, at an IOVA that is a multiple of `alignment` (bytes, a power of
   * two); what is in them stays as it is. A piece is never given back.
   * @throws ERR_VFIO_IOVA_SPACE if fewer are left, ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_CLOSED
   */
  async alloc(size: number, options?: ArenaAllocOptions): Promise<MemoryPiece> {
    const alignment = options?.alignment ?? native.pageSize;
    if (this.#closed) throw closedError('DMA memory');
    assertAlignment(alignment);
    if (!Number.isSafeInteger(size) || size <= 0) {
      throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `not a size in bytes: ${shown(size)}`);
    }
    const from = this.iova + BigInt(this.#used);
    const at = this.#used + Number(-from & BigInt(Math.max(alignment, MIN_ALIGNMENT) - 1));
    if (at + size > this.size) {
      throw new VfioError(
        'ERR_VFIO_IOVA_SPACE',
        `${size} bytes of DMA memory: ${Math.max(this.size - at, 0)} are left of ${this.size}`,
        { hint: 'share a larger buffer' },
      );
    }
    this.#used = at + Math.ceil(size / native.pageSize) * native.pageSize;
    const slab = { u8: this.#u8, iova: this.iova };
    return { ...pieceOf(slab, at, size), size, close: async () => {} };
  }

  /** As `AddressSpace.pool`, in a piece of this memory. */
  pool(options: Pick<PoolOptions, 'size' | 'count' | 'alignment'>): Promise<DmaPool> {
    return createPool(this, options);
  }

  /** Let go of it, in this thread only. Idempotent. */
  close(): void {
    // Another attachment of the same memory may have been made since.
    if (this.#closed) return;
    this.#closed = true;
    native.rangeRelease(this.#range);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
