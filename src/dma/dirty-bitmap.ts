/**
 * Dirty pages as the kernel reports them (VFIO_IOMMU_DIRTY_PAGES, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
 * IOMMU_HWPT_GET_DIRTY_BITMAP): bit n, counted from the lowest of the first little-endian u64, is page n.
 */
import { shown, VfioError } from '../errors';
import { isAlignment } from './alignment';

/** What type1 takes in one request (DIRTY_BITMAP_PAGES_MAX): 8 TiB of 4 KiB pages, a bitmap of 256 MiB. */
const MAX_PAGES = 2 ** 31 - 1;

export interface DirtyRange {
  readonly iova: bigint;
  /** Bytes; whole pages. */
  readonly size: bigint;
}

export interface DirtyBitmapOptions {
  /** Address of the first page; on a page. */
  readonly iova: bigint;
  /** Bytes covered; a page begun counts. */
  readonly size: number;
  /** Bytes; a power of two. */
  readonly pageSize: number;
  /** The bitmap, `bitmapBytes(size, pageSize)` long and on a multiple of 4 of its buffer. Default: a clean one. */
  readonly bytes?: Uint8Array<ArrayBuffer>;
}

/**
 * Bytes of a bitmap for `size` bytes in pages of `pageSize`: whole u64 words.
 * @throws ERR_VFIO_INVALID_ARGUMENT
 */
export function bitmapBytes(size: number, pageSize: number): number {
  return Math.ceil(pagesOf(size, pageSize) / 64) * 8;
}

export class DirtyBitmap {
  readonly iova: bigint;
  readonly size: number;
  readonly pageSize: number;
  /** Pages covered. */
  readonly pages: number;
  /** What the kernel reads and writes; not copied. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array<ArrayBuffer>;

  /** @throws ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_UNALIGNED */
  constructor({ iova, size, pageSize, bytes }: DirtyBitmapOptions) {
    this.pages = pagesOf(size, pageSize);
    const length = bitmapBytes(size, pageSize);
    if (iova < 0n || iova % BigInt(pageSize) !== 0n) {
      throw new VfioError(
        'ERR_VFIO_UNALIGNED',
        `IOVA 0x${iova.toString(16)} is not on a page of ${pageSize} bytes`,
      );
    }
    if (bytes && (bytes.length !== length || bytes.byteOffset % 4 !== 0)) {
      throw new VfioError(
        'ERR_VFIO_INVALID_ARGUMENT',
        `a bitmap of ${bytes.length} bytes at offset ${bytes.byteOffset} for ${this.pages} pages`,
        { hint: `it takes ${length} bytes at a multiple of 4` },
      );
    }
    this.iova = iova;
    this.size = size;
    this.pageSize = pageSize;
    this.bytes = bytes ?? new Uint8Array(length);
    this.#words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, length / 4);
  }

  /** Dirty pages. */
  get count(): number {
    let count = 0;
    for (let i = 0; i < this.#words.length; i++) count += bitsIn(this.#word(i));
    return count;
  }

  /** Whether the page of an address is dirty. @throws ERR_VFIO_OUT_OF_RANGE */
  isDirty(iova: bigint): boolean {
    const page = Number((iova - this.iova) / BigInt(this.pageSize));
    if (iova < this.iova || page >= this.pages) {
      throw new VfioError(
        'ERR_VFIO_OUT_OF_RANGE',
        `IOVA 0x${iova.toString(16)} is not among the ${this.size} bytes from 0x${this.iova.toString(16)}`,
      );
    }
    return ((this.#words[page >>> 5]! >>> (page & 31)) & 1) === 1;
  }

  /** Runs of dirty pages, ascending, as long as they get. The last may end behind `size`, with its page. */
  *ranges(): Generator<DirtyRange, void, undefined> {
    const pageSize = BigInt(this.pageSize);
    for (let first = this.#next(0, 0); first < this.pages; ) {
      const end = this.#next(first, -1);
      yield { iova: this.iova + BigInt(first) * pageSize, size: BigInt(end - first) * pageSize };
      first = this.#next(end, 0);
    }
  }

  /** The same without an allocation: pages are counted from `iova`. */
  forEachRange(callback: (firstPage: number, pages: number) => void): void {
    for (let first = this.#next(0, 0); first < this.pages; ) {
      const end = this.#next(first, -1);
      callback(first, end - first);
      first = this.#next(end, 0);
    }
  }

  /** What is dirty in `other` becomes dirty here. @throws ERR_VFIO_INVALID_ARGUMENT if it covers other pages */
  merge(other: DirtyBitmap): void {
    if (
      other.iova !== this.iova ||
      other.pages !== this.pages ||
      other.pageSize !== this.pageSize
    ) {
      throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'the bitmaps cover different pages', {
        hint: `this one ${this.#describe()}, the other ${other.#describe()}`,
      });
    }
    for (let i = 0; i < this.#words.length; i++) this.#words[i]! |= other.#words[i]!;
  }

  /** All clean, for the next report: the kernel may only add to what is set. */
  clear(): void {
    this.#words.fill(0);
  }

  /** The first page from `page` on that is dirty (`flip` 0) or clean (`flip` -1); `pages` at the end. */
  #next(page: number, flip: 0 | -1): number {
    if (page >= this.pages) return this.pages;
    let i = page >>> 5;
    let word = (this.#words[i]! ^ flip) & (-1 << (page & 31));
    while (word === 0) {
      if (++i === this.#words.length) return this.pages;
      word = this.#words[i]! ^ flip;
    }
    const lowest = 31 - Math.clz32(word & -word);
    return Math.min(this.pages, i * 32 + lowest);
  }

  /** The ith word without what is behind the last page. */
  #word(i: number): number {
    const left = this.pages - i * 32;
    const word = this.#words[i]!;
    return left >= 32 ? word : left <= 0 ? 0 : word & ~(-1 << left);
  }

  #describe(): string {
    return `${this.pages} of ${this.pageSize} bytes from 0x${this.iova.toString(16)}`;
  }
}

function pagesOf(size: number, pageSize: number): number {
  if (!isAlignment(pageSize)) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `no page size: ${shown(pageSize)}`, {
      hint: 'a power of two',
    });
  }
  const pages = Number.isSafeInteger(size) ? Math.ceil(size / pageSize) : 0;
  if (pages <= 0 || pages > MAX_PAGES) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `no size for a dirty bitmap: ${shown(size)}`, {
      hint: `from 1 byte to ${MAX_PAGES} pages of ${pageSize} bytes`,
    });
  }
  return pages;
}

/** Sums neighbouring bits, then pairs, then nibbles; the product adds the bytes up in the highest. */
function bitsIn(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555);
  const nibbles = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
