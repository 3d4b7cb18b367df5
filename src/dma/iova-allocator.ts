/**
 * Allocates I/O virtual addresses inside the ranges that the IOMMU reports, the lowest first, at a
 * cost that grows with the logarithm of the number of holes and not with what is in use.
 *
 * It counts in pages: a page number below 2^52 is an exact Number, an address need not be.
 */
import { VfioError } from '../errors';
import type { IovaRange } from '../ioctl/container';
import { assertAlignment } from './alignment';
import { FreeRuns } from './free-runs';

export interface IovaConstraints {
  /** Bytes; a power of two. At least a page. */
  readonly alignment?: number;
  /** The last address may not be above it: what the device's DMA mask allows. */
  readonly maxIova?: bigint;
}

/** What the allocator works in when the kernel reports no ranges: a 39-bit address width, the narrowest VT-d has. */
const UNREPORTED: IovaRange[] = [{ start: 0n, end: (1n << 39n) - 1n }];

export class IovaAllocator {
  readonly #pageSize: number;
  readonly #pageSize64: bigint;
  readonly #free = new FreeRuns();
  /** Whole pages of the ranges, ascending, disjoint and never adjacent: [first, end). */
  readonly #ranges: Array<{ first: number; end: number }> = [];

  constructor(ranges: readonly IovaRange[] | undefined, pageSize: number) {
    this.#pageSize = pageSize;
    this.#pageSize64 = BigInt(pageSize);
    let first = 0;
    const sorted = [...(ranges ?? UNREPORTED)].sort((a, b) => (a.start < b.start ? -1 : 1));
    for (const range of sorted) {
      first = Math.max(first, Number((range.start + this.#pageSize64 - 1n) / this.#pageSize64));
      const end = Number((range.end + 1n) / this.#pageSize64);
      if (end <= first) continue;
      this.#free.add(first, end);
      const last = this.#ranges.at(-1);
      if (last?.end === first) last.end = end;
      else this.#ranges.push({ first, end });
      first = end;
    }
  }

  /**
   * The lowest free address that fits; with an `alignment` above a page perhaps a higher one. Never
   * address 0: many devices take it for "none". `size` is a multiple of the page size.
   * @throws ERR_VFIO_IOVA_SPACE if none fits, ERR_VFIO_INVALID_ARGUMENT
   */
  allocate(size: number, { alignment = 1, maxIova }: IovaConstraints = {}): bigint {
    const pages = this.#toPages(size);
    assertAlignment(alignment);
    const step = Math.max(1, alignment / this.#pageSize);
    const limit =
      maxIova === undefined ? Number.POSITIVE_INFINITY : Number((maxIova + 1n) / this.#pageSize64);
    const first = this.#free.find(pages, step, limit);
    if (first < 0) throw this.#noSpace(size, alignment, maxIova);
    this.#free.take(first, first + pages);
    return BigInt(first) * this.#pageSize64;
  }

  /**
   * Take [iova, iova + size), for a caller that needs that very address. Address 0 can be had so.
   * @throws ERR_VFIO_IOVA_TAKEN if some of it is in use, ERR_VFIO_IOVA_OUTSIDE if the IOMMU does not
   * translate all of it, ERR_VFIO_UNALIGNED, ERR_VFIO_INVALID_ARGUMENT
   */
  reserve(iova: bigint, size: number): void {
    const { first, end } = this.#inside(iova, size);
    if (this.#free.take(first, end)) return;
    throw new VfioError('ERR_VFIO_IOVA_TAKEN', `${span(iova, size)} is in use`, {
      hint: 'reserve fixed addresses before anything is allocated, or close the buffer that is there',
    });
  }

  /**
   * Give back what `allocate` gave or `reserve` took.
   * @throws ERR_VFIO_INVALID_ARGUMENT if some of it is free already, and as `reserve` does
   */
  free(iova: bigint, size: number): void {
    const { first, end } = this.#inside(iova, size);
    if (this.#free.add(first, end)) return;
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `${span(iova, size)} is not allocated`);
  }

  /** Free bytes in all, address 0 included. */
  get freeBytes(): bigint {
    return BigInt(this.#free.pages) * this.#pageSize64;
  }

  #toPages(size: number): number {
    const pages = size / this.#pageSize;
    if (Number.isSafeInteger(pages) && pages > 0) return pages;
    throw new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `not a size in whole pages of ${this.#pageSize} bytes: ${size}`,
    );
  }

  #inside(iova: bigint, size: number): { first: number; end: number } {
    const pages = this.#toPages(size);
    if (iova % this.#pageSize64 !== 0n) {
      throw new VfioError(
        'ERR_VFIO_UNALIGNED',
        `IOVA 0x${iova.toString(16)} is not on a page of ${this.#pageSize} bytes`,
      );
    }
    const first = Number(iova / this.#pageSize64);
    const end = first + pages;
    if (this.#ranges.some((range) => first >= range.first && end <= range.end)) {
      return { first, end };
    }
    throw new VfioError('ERR_VFIO_IOVA_OUTSIDE', `${span(iova, size)} is outside the IOVA ranges`, {
      hint: `the IOMMU translates ${this.#ranges.map((r) => this.#describe(r)).join(', ') || 'nothing'}`,
    });
  }

  #describe({ first, end }: { first: number; end: number }): string {
    const pageSize = this.#pageSize64;
    return `0x${(BigInt(first) * pageSize).toString(16)}..0x${(BigInt(end) * pageSize - 1n).toString(16)}`;
  }

  #noSpace(size: number, alignment: number, maxIova: bigint | undefined): VfioError {
    const aligned = alignment > this.#pageSize ? ` aligned to ${alignment}` : '';
    const below = maxIova === undefined ? '' : ` up to 0x${maxIova.toString(16)}`;
    const longest = BigInt(this.#free.longest) * this.#pageSize64;
    return new VfioError(
      'ERR_VFIO_IOVA_SPACE',
      `no ${size} bytes of free IOVA space${aligned}${below} (largest free run: ${longest} bytes)`,
      { hint: 'close DMA buffers that are no longer used, or allow higher addresses (maxIova)' },
    );
  }
}

function span(iova: bigint, size: number): string {
  return `0x${iova.toString(16)}..0x${(iova + BigInt(size) - 1n).toString(16)}`;
}
