/** Fixed-size DMA buffers for a hot path: all made beforehand, taken and given back without an allocation. */
import { allDone } from '../all-done';
import { closedError, shown, VfioError } from '../errors';
import { isAlignment } from './alignment';
import type { IovaConstraints } from './iova-allocator';
import { MIN_ALIGNMENT, type Piece, pieceOf, type SlabMemory } from './piece';

/** The page that a device's page lists count in (NVMe PRP, ...): a small buffer is never on two. */
const PAGE = 4096;
/** The views need less; devices and caches are better off with a cache line to themselves. */
const CACHE_LINE = 64;
/** The most that one mapping holds, unless a single buffer is larger. */
const SLAB = 64 << 20;

/** What a list of buffers by their indices, an array of them and an Int32Array can all hold. */
const MOST_BUFFERS = 2 ** 27;

/** In place of the next buffer of the list: there is none. */
const NONE = -1;
/** In `DmaPool.links`: the buffer is out, and in no chain. Used as a local, for an export is looked up. */
const OUT = -2;

export { OUT as POOL_OUT };

/** What a pool needs of an AddressSpace. */
export interface PoolSpace<Options extends IovaConstraints = IovaConstraints> {
  alloc(size: number, options?: Options): Promise<SlabMemory>;
}

export interface PoolOptions extends IovaConstraints {
  /** Bytes of a buffer. */
  readonly size: number;
  /** How many buffers. */
  readonly count: number;
  /** Of every buffer, in bytes: a power of two, at least 8. Default 64, a cache line. */
  readonly alignment?: number;
}

/** One buffer of a pool. Its views are of length 0 once the pool is closed. */
export interface PoolBuffer extends Piece {
  /** Its number in the pool: `pool.buffers[index]`. */
  readonly index: number;
}

/**
 * A pool in the address space: `alloc` is asked for as few mappings as hold `count` buffers, with
 * what other options of its own are given. If one fails, those made before are closed.
 * @throws ERR_VFIO_INVALID_ARGUMENT, and what `alloc` throws
 */
export async function createPool<Options extends IovaConstraints>(
  space: PoolSpace<Options>,
  options: PoolOptions & Options,
): Promise<DmaPool> {
  const { size, count, alignment = CACHE_LINE, ...rest } = options ?? {};
  const layout = layOut(size, count, alignment);
  const mapping = { ...rest, alignment: Math.max(alignment, PAGE) } as unknown as Options;
  const slabs: SlabMemory[] = [];
  try {
    for (let left = count; left > 0; left -= layout.perSlab) {
      slabs.push(await space.alloc(layout.bytes(Math.min(left, layout.perSlab)), mapping));
    }
    return new DmaPool(slabs, layout, size, count);
  } catch (error) {
    await Promise.allSettled(slabs.map((slab) => slab.close()));
    throw error;
  }
}

export class DmaPool implements AsyncDisposable {
  /** Bytes of a buffer. */
  readonly size: number;
  /** Buffers in all. */
  readonly count: number;
  readonly buffers: readonly PoolBuffer[];
  /** The halves of the buffers' IOVAs, by index: all that a hot path with indices needs. */
  readonly iovaLo: Uint32Array;
  readonly iovaHi: Uint32Array;
  /** And whole: copied from here to a 64-bit view of a descriptor, one is no bigint in compiled code. */
  readonly iovas: BigUint64Array;
  readonly #slabs: readonly SlabMemory[];
  /**
   * The buffers that are here, as a list from `#first` on: by index, the next one, or -1; POOL_OUT for
   * one that is out. The last in is the first out, as it is warm in the cache.
   *
   * Who has buffers out that come back together, such as a transmit queue, may chain them here, each to
   * the one before, and give them back at once by `giveChain`. A link is written only where POOL_OUT was.
   */
  readonly links: Int32Array;
  #first: number;
  #available: number;
  /** Of a part of the memory: of length 0 once that is closed, all of it at once. */
  readonly #view: Uint8Array;
  #closing: Promise<void> | undefined;

  /** Made by `createPool`. */
  constructor(slabs: readonly SlabMemory[], layout: PoolLayout, size: number, count: number) {
    this.size = size;
    this.count = count;
    this.#slabs = slabs;
    this.iovaLo = new Uint32Array(count);
    this.iovaHi = new Uint32Array(count);
    this.iovas = new BigUint64Array(count);
    this.buffers = Array.from({ length: count }, (_, index) => {
      const slab = slabs[Math.floor(index / layout.perSlab)]!;
      const buffer = { index, ...pieceOf(slab, layout.offset(index % layout.perSlab), size) };
      this.iovaLo[index] = buffer.iovaLo;
      this.iovaHi[index] = buffer.iovaHi;
      this.iovas[index] = buffer.iova;
      return buffer;
    });
    this.links = Int32Array.from({ length: count }, (_, i) => (i + 1 < count ? i + 1 : NONE));
    this.#first = 0;
    this.#available = count;
    this.#view = this.buffers[0]!.u8;
  }

  /** Buffers that can be taken now. */
  get available(): number {
    return this.#available;
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /** A buffer with whatever was last in it; undefined if all are out. @throws ERR_VFIO_CLOSED */
  take(): PoolBuffer | undefined {
    const index = this.takeIndex();
    return index < 0 ? undefined : this.buffers[index];
  }

  /** The index of a buffer, -1 if all are out. @throws ERR_VFIO_CLOSED */
  takeIndex(): number {
    const index = this.#first;
    this.#assertOpen();
    if (index === NONE) return -1;
    this.#first = this.links[index]!;
    this.links[index] = OUT;
    this.#available--;
    return index;
  }

  /**
   * Give back what `take` gave.
   * @throws ERR_VFIO_FOREIGN_BUFFER, ERR_VFIO_NOT_TAKEN (given back before), ERR_VFIO_CLOSED
   */
  give(buffer: PoolBuffer): void {
    let index: number;
    // A check for undefined, which `take` returns when all are out, would cost each call.
    try {
      index = buffer.index;
    } catch {
      throw foreign();
    }
    if (this.buffers[index] !== buffer) throw foreign();
    this.giveIndex(index);
  }

  /** @throws ERR_VFIO_OUT_OF_RANGE (no such index), ERR_VFIO_NOT_TAKEN (given back before), ERR_VFIO_CLOSED */
  giveIndex(index: number): void {
    if (this.links[index] !== OUT) throw this.#notOut(index);
    this.#assertOpen();
    this.links[index] = this.#first;
    this.#first = index;
    this.#available++;
  }

  /**
   * As many indices as there are, at most `count`, into `into` from `start` on: a burst's worth, for one
   * check that the pool is open. Returns how many. @throws ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_CLOSED
   */
  takeIndices(into: Uint32Array, start: number, count: number): number {
    assertStretch(start, count);
    this.#assertOpen();
    const { links } = this;
    // Cut to 31 bits and a sign, numbers stay in registers, and out of floating-point ones.
    const length = into.length | 0;
    const available = this.#available | 0;
    const last = ((start | 0) + (count < available ? count | 0 : available)) | 0;
    const end = last < length ? last : length;
    let first = this.#first | 0;
    let i = start | 0;
    // Four at a time: what compiled code knows of an array, it forgets as a loop turns.
    for (; ((i + 4) | 0) <= end; i = (i + 4) | 0) {
      const a = first;
      const b = links[a]!;
      const c = links[b]!;
      const d = links[c]!;
      first = links[d]!;
      links[a] = OUT;
      links[b] = OUT;
      links[c] = OUT;
      links[d] = OUT;
      into[i] = a;
      into[(i + 1) | 0] = b;
      into[(i + 2) | 0] = c;
      into[(i + 3) | 0] = d;
    }
    for (; i < end; i++) {
      into[i] = first;
      const after = links[first]!;
      links[first] = OUT;
      first = after;
    }
    const taken = Math.max(end - start, 0);
    this.#first = first;
    this.#available -= taken;
    return taken;
  }

  /**
   * Give back `count` indices that stand in `from` from `start` on; those before one that is refused
   * are in the pool then. @throws as `giveIndex`, and ERR_VFIO_INVALID_ARGUMENT
   */
  giveIndices(from: Uint32Array, start: number, count: number): void {
    assertStretch(start, count);
    this.#assertOpen();
    const { links } = this;
    const length = from.length | 0;
    const last = start + count;
    const end = last < length ? last | 0 : length;
    let first = this.#first | 0;
    let i = start | 0;
    for (; i < end; i++) {
      const index = from[i]! | 0;
      if (links[index] !== OUT) break;
      links[index] = first;
      first = index;
    }
    this.#first = first;
    this.#available += Math.max(i - start, 0);
    if (i < last) throw this.#notOut(from[i]!);
  }

  /**
   * Give back `count` buffers that are chained in `links`, from `head` to `tail`: whatever their number,
   * in one step. The chain is taken at its word.
   * @throws ERR_VFIO_OUT_OF_RANGE, ERR_VFIO_NOT_TAKEN (an end of it is in no chain),
   * ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_CLOSED
   */
  giveChain(head: number, tail: number, count: number): void {
    assertStretch(0, count);
    const { links } = this;
    if (!(links[head]! >= NONE)) throw this.#notChained(head);
    if (!(links[tail]! >= NONE)) throw this.#notChained(tail);
    this.#assertOpen();
    links[tail] = this.#first;
    this.#first = head;
    this.#available += count;
  }

  /** Close the mappings, also under buffers that are out: their views are detached. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= allDone(this.#slabs.map((slab) => slab.close()));
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The memory may also have been closed from below, with its address space. */
  #assertOpen(): void {
    if (this.#closing || this.#view.length === 0) throw closedError('DMA pool');
  }

  #absent(index: number): VfioError {
    return new VfioError('ERR_VFIO_OUT_OF_RANGE', `no buffer ${index} in a pool of ${this.count}`);
  }

  #notChained(index: number): VfioError {
    if (this.links[index] === undefined) return this.#absent(index);
    return new VfioError('ERR_VFIO_NOT_TAKEN', `buffer ${index} is in no chain`, {
      hint: 'chain buffers that are out: links[index] = the one before, -1 for the first',
    });
  }

  #notOut(index: number): VfioError {
    if (this.links[index] === undefined) return this.#absent(index);
    return new VfioError('ERR_VFIO_NOT_TAKEN', `buffer ${index} is in the pool already`, {
      hint: 'it was given back before; who takes it next would share it with another',
    });
  }
}

function foreign(): VfioError {
  return new VfioError('ERR_VFIO_FOREIGN_BUFFER', 'the buffer is not of this pool', {
    hint: 'give a buffer back to the pool it was taken from',
  });
}

/** By what is no integer, buffers would be lost from the list, and from their number. */
function assertStretch(start: number, count: number): void {
  if ((start | 0) === start && start >= 0 && Number.isSafeInteger(count)) return;
  throw new VfioError(
    'ERR_VFIO_INVALID_ARGUMENT',
    `no stretch of indices: ${count} from ${start} on`,
  );
}

interface PoolLayout {
  /** Buffers in a full slab. */
  readonly perSlab: number;
  /** Where the nth buffer of a slab begins. */
  offset(n: number): number;
  /** Bytes of a slab of n buffers. */
  bytes(n: number): number;
}

function layOut(size: number, count: number, alignment: number): PoolLayout {
  for (const [name, value, most] of [
    ['size', size, Number.MAX_SAFE_INTEGER],
    ['count', count, MOST_BUFFERS],
  ] as const) {
    if (!Number.isSafeInteger(value) || value <= 0 || value > most) {
      throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `${name} of a pool: ${shown(value)}`, {
        hint: `an integer from 1 to ${most}`,
      });
    }
  }
  if (!isAlignment(alignment) || alignment < MIN_ALIGNMENT) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `alignment of a pool: ${shown(alignment)}`, {
      hint: `a power of two, at least ${MIN_ALIGNMENT}`,
    });
  }
  const stride = Math.ceil(size / alignment) * alignment;
  // As many small buffers as a page holds, the rest of it empty; large ones one after the other.
  const perBlock = Math.max(1, Math.floor(PAGE / stride));
  const block = Math.max(PAGE, stride);
  const offset = (n: number) => Math.floor(n / perBlock) * block + (n % perBlock) * stride;
  return {
    perSlab: perBlock * Math.max(1, Math.floor(SLAB / block)),
    offset,
    bytes: (n) => offset(n - 1) + stride,
  };
}
