/**
 * Small buffers of different sizes on one mapping: the rings, queues and structures of a driver, for
 * one entry of the IOMMU and one piece of pinned memory instead of a page and a mapping for each.
 */
import { closedError, shown, VfioError } from '../errors';
import { assertAlignment } from './alignment';
import { FreeRuns } from './free-runs';
import type { IovaConstraints } from './iova-allocator';
import { type Piece, pieceOf, type SlabMemory } from './piece';
import type { PoolSpace } from './pool';

/** What buffers are counted in, a cache line: no two share one. */
const UNIT = 64;
const PAGE = 4096;

export interface ArenaOptions extends IovaConstraints {
  /** Bytes for all buffers together. */
  readonly size: number;
}

export interface ArenaAllocOptions {
  /** Bytes, a power of two up to the arena's own alignment (a page by default). Default: a cache line. */
  readonly alignment?: number;
}

/** A buffer of an arena. Its views are of length 0 once the arena is closed. */
export interface ArenaBuffer extends Piece {
  readonly size: number;
}

/** @throws ERR_VFIO_INVALID_ARGUMENT, and what `alloc` throws */
export async function createArena<Options extends IovaConstraints>(
  space: PoolSpace<Options>,
  options: ArenaOptions & Options,
): Promise<DmaArena> {
  const { size, ...rest } = options ?? {};
  assertSize('of an arena', size);
  assertAlignment(rest.alignment ?? PAGE);
  const alignment = Math.max(rest.alignment ?? PAGE, PAGE);
  const mapping = { ...rest, alignment } as unknown as Options;
  return new DmaArena(await space.alloc(size, mapping), alignment);
}

export class DmaArena implements AsyncDisposable {
  readonly #memory: SlabMemory;
  readonly #u8: Uint8Array<ArrayBuffer>;
  readonly #alignment: number;
  readonly #free = new FreeRuns();
  /** The number of the first unit: a multiple of every alignment, and not 0, which is never found. */
  readonly #first: number;
  /** Buffers that are out, and their first unit. */
  readonly #out = new Map<ArenaBuffer, number>();
  #closing: Promise<void> | undefined;

  /** Made by `createArena`. */
  constructor(memory: SlabMemory, alignment: number) {
    this.#memory = memory;
    this.#u8 = memory.u8;
    this.#alignment = alignment;
    this.#first = alignment / UNIT;
    this.#free.add(this.#first, this.#first + Math.floor(this.#u8.length / UNIT));
  }

  /** Bytes that are free, in pieces of a cache line. */
  get available(): number {
    return this.#free.pages * UNIT;
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Zeroed memory, at the lowest place that fits.
   * @throws ERR_VFIO_IOVA_SPACE if none does, ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_CLOSED
   */
  alloc(size: number, options?: ArenaAllocOptions): ArenaBuffer {
    const alignment = options?.alignment ?? UNIT;
    this.#assertOpen();
    assertSize('of a buffer', size);
    assertAlignment(alignment);
    if (alignment > this.#alignment) {
      throw new VfioError(
        'ERR_VFIO_INVALID_ARGUMENT',
        `the arena is aligned to ${this.#alignment} bytes, so no buffer of it can be to ${alignment}`,
        { hint: 'give the arena that alignment' },
      );
    }
    const units = Math.ceil(size / UNIT);
    const unit = this.#free.find(units, Math.max(1, alignment / UNIT), Number.POSITIVE_INFINITY);
    if (unit < 0) {
      throw new VfioError(
        'ERR_VFIO_IOVA_SPACE',
        `no ${size} bytes aligned to ${alignment} are free in the arena (${this.available} in all, ` +
          `${this.#free.longest * UNIT} in one piece)`,
      );
    }
    this.#free.take(unit, unit + units);
    const buffer = { size, ...pieceOf(this.#memory, (unit - this.#first) * UNIT, size) };
    buffer.u8.fill(0);
    this.#out.set(buffer, unit);
    return buffer;
  }

  /**
   * Give `buffer` back: its memory goes to who asks next, so no device may still use it.
   * @throws ERR_VFIO_NOT_TAKEN (not of this arena, or given back before), ERR_VFIO_CLOSED
   */
  free(buffer: ArenaBuffer): void {
    this.#assertOpen();
    const unit = this.#out.get(buffer);
    if (unit === undefined) {
      throw new VfioError('ERR_VFIO_NOT_TAKEN', 'the buffer is not one that the arena has given', {
        hint: 'it was given back before, or is of another arena',
      });
    }
    this.#out.delete(buffer);
    this.#free.add(unit, unit + Math.ceil(buffer.size / UNIT));
  }

  /** Close the mapping, also under buffers that are out: their views are detached. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#memory.close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The memory may also have been closed from below, with its address space. */
  #assertOpen(): void {
    if (this.#closing || this.#u8.length === 0) throw closedError('DMA arena');
  }
}

function assertSize(what: string, size: number): void {
  if (Number.isSafeInteger(size) && size > 0) return;
  throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `size ${what}: ${shown(size)}`, {
    hint: 'a positive integer',
  });
}
