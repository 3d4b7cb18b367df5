/** Where in an address space mappings go: at an address that was asked for, or at a free one. */
import { VfioError } from '../errors';
import { native } from '../native';
import type { Geometry } from './backend';
import { brokenRule } from './explain';
import { IovaAllocator } from './iova-allocator';
import type { IovaSpan } from './mapping';
import type { MapOptions } from './options';

export class Placement {
  readonly #geometry: Geometry;
  readonly #allocator: IovaAllocator;

  /** `mappings`: those that are there already, inside of the ranges or not. */
  constructor(geometry: Geometry, mappings: Iterable<IovaSpan>) {
    this.#geometry = geometry;
    this.#allocator = new IovaAllocator(geometry.iovaRanges, native.pageSize);
    for (const { iova, size } of mappings) this.#allocator.reserve(iova, size);
  }

  get geometry(): Geometry {
    return this.#geometry;
  }

  /**
   * An address for `size` bytes of memory in pages of `pageSize`.
   * @throws ERR_VFIO_IOVA_SPACE, ERR_VFIO_IOVA_TAKEN, ERR_VFIO_IOVA_OUTSIDE, ERR_VFIO_INVALID_ARGUMENT
   */
  take(
    { size, pageSize }: { size: number; pageSize: number },
    options: MapOptions,
    mappings: Iterable<IovaSpan>,
  ): bigint {
    const { iova, alignment = native.pageSize, maxIova } = options;
    if (!Number.isSafeInteger(Math.log2(alignment))) {
      throw new VfioError(
        'ERR_VFIO_INVALID_ARGUMENT',
        `alignment is no power of two: ${alignment}`,
      );
    }
    if (iova === undefined) {
      // On the boundary of its pages, memory takes as few entries of the IOMMU as there can be.
      const whole = Math.max(alignment, pageSize);
      return this.#allocator.allocate(size, { alignment: whole, maxIova });
    }
    const last = iova + BigInt(size) - 1n;
    if (maxIova !== undefined && last > maxIova) {
      throw new VfioError(
        'ERR_VFIO_IOVA_OUTSIDE',
        `IOVA 0x${iova.toString(16)} for ${size} bytes ends above 0x${maxIova.toString(16)}`,
        {
          hint: 'without an IOMMU, memory has the address that it has: a device with a narrow DMA mask cannot reach all of it',
        },
      );
    }
    const rule = brokenRule({ iova, size, pageSize }, this.#geometry, mappings);
    if (rule === undefined) {
      this.#allocator.reserve(iova, size);
      return iova;
    }
    const code = rule.includes('overlaps') ? 'ERR_VFIO_IOVA_TAKEN' : 'ERR_VFIO_IOVA_OUTSIDE';
    throw new VfioError(code, `IOVA 0x${iova.toString(16)} for ${size} bytes: ${rule}`);
  }

  free(iova: bigint, size: number): void {
    this.#allocator.free(iova, size);
  }
}
