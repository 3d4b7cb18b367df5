/**
 * Allocates I/O virtual addresses inside the ranges that the IOMMU reports.
 *
 * It counts in pages: a page number below 2^52 is an exact Number, an address need not be.
 */
import { VfioError } from '../errors';
import type { IovaRange } from '../ioctl/container';

export interface IovaConstraints {
  /** Bytes; a power of two. At least a page. */
  readonly alignment?: number;
  /** The last address may not be above it: what the device's DMA mask allows. */
  readonly maxIova?: bigint;
}

/** What the allocator works in when the kernel reports no ranges: a 39-bit address width, the narrowest VT-d has. */
const UNREPORTED: IovaRange[] = [{ start: 0n, end: (1n << 39n) - 1n }];

export class IovaAllocator {
  readonly #pageSize: bigint;
  /** Free runs of pages, disjoint, ascending, never adjacent: [#starts[i], #ends[i]). */
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  /** Address 0 is left out: many devices take it for "none". */
  constructor(ranges: readonly IovaRange[] | undefined, pageSize: number) {
    this.#pageSize = BigInt(pageSize);
    const sorted = [...(ranges ?? UNREPORTED)].sort((a, b) => (a.start < b.start ? -1 : 1));
    for (const { start, end } of sorted) {
      const first = Math.max(1, Number((start + this.#pageSize - 1n) / this.#pageSize));
      const last = Number((end + 1n) / this.#pageSize);
      if (last > first) this.#insert(first, last);
    }
  }

  /**
   * The lowest free address that fits. `size` is a multiple of the page size.
   * @throws ERR_VFIO_IOVA_SPACE if none fits.
   */
  allocate(size: number, { alignment = 0, maxIova }: IovaConstraints = {}): bigint {
    const pages = size / Number(this.#pageSize);
    const step = Math.max(1, alignment / Number(this.#pageSize));
    const limit =
      maxIova === undefined ? Number.POSITIVE_INFINITY : Number((maxIova + 1n) / this.#pageSize);
    for (let i = 0; i < this.#starts.length; i++) {
      const start = Math.ceil(this.#starts[i]! / step) * step;
      if (start + pages > limit) break;
      if (start + pages <= this.#ends[i]!) {
        this.#take(i, start, start + pages);
        return BigInt(start) * this.#pageSize;
      }
    }
    throw new VfioError(
      'ERR_VFIO_IOVA_SPACE',
      `no ${size} bytes of free IOVA space${maxIova === undefined ? '' : ` up to 0x${maxIova.toString(16)}`}`,
      { hint: 'close DMA buffers that are no longer used, or allow higher addresses (maxIova)' },
    );
  }

  /** Give back what `allocate` gave. */
  free(iova: bigint, size: number): void {
    const start = Number(iova / this.#pageSize);
    this.#insert(start, start + size / Number(this.#pageSize));
  }

  /** Free bytes in all. */
  get freeBytes(): bigint {
    let pages = 0;
    for (let i = 0; i < this.#starts.length; i++) pages += this.#ends[i]! - this.#starts[i]!;
    return BigInt(pages) * this.#pageSize;
  }

  #take(i: number, start: number, end: number): void {
    const runEnd = this.#ends[i]!;
    if (start > this.#starts[i]!) {
      this.#ends[i] = start;
      if (end < runEnd) {
        this.#starts.splice(i + 1, 0, end);
        this.#ends.splice(i + 1, 0, runEnd);
      }
    } else if (end < runEnd) {
      this.#starts[i] = end;
    } else {
      this.#starts.splice(i, 1);
      this.#ends.splice(i, 1);
    }
  }

  #insert(start: number, end: number): void {
    const next = this.#firstStartAbove(start);
    const before = next > 0 && this.#ends[next - 1] === start;
    const after = this.#starts[next] === end;
    if (before && after) {
      this.#ends[next - 1] = this.#ends[next]!;
      this.#starts.splice(next, 1);
      this.#ends.splice(next, 1);
    } else if (before) {
      this.#ends[next - 1] = end;
    } else if (after) {
      this.#starts[next] = start;
    } else {
      this.#starts.splice(next, 0, start);
      this.#ends.splice(next, 0, end);
    }
  }

  #firstStartAbove(page: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle]! > page) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
