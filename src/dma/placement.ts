/** Where in an address space mappings go: at an address that was asked for, or at a free one. */
import { VfioError } from '../errors';
import { native } from '../native';
import { assertAlignment } from './alignment';
import type { Geometry } from './backend';
import { brokenRule } from './explain';
import { IovaAllocator } from './iova-allocator';
import type { IovaSpan } from './mapping';
import type { MapOptions } from './options';

export interface Placeable {
  readonly size: number;
  readonly pageSize: number;
  /** The addon's range that it is in; memory of others has none. */
  readonly range?: number;
}

export interface Placement {
  readonly geometry: Geometry;
  /** Bytes that sizes and addresses are multiples of. */
  readonly granule: number;
  /**
   * An address for memory.
   * @throws ERR_VFIO_IOVA_SPACE, ERR_VFIO_IOVA_TAKEN, ERR_VFIO_IOVA_OUTSIDE, ERR_VFIO_INVALID_ARGUMENT,
   * ERR_VFIO_UNSUPPORTED
   */
  take(memory: Placeable, options: MapOptions, mappings: Iterable<IovaSpan>): bigint;
  /** Give it back. */
  free(iova: bigint, size: number): void;
}

/** In front of the devices is an IOMMU: addresses are whatever is free. */
export class IovaPlacement implements Placement {
  readonly geometry: Geometry;
  /** The IOMMU's smallest page, unless the process' is larger. */
  readonly granule: number;
  readonly #allocator: IovaAllocator;

  /** `mappings`: those that are there already, inside of the ranges or not. */
  constructor(geometry: Geometry, mappings: Iterable<IovaSpan>) {
    this.geometry = geometry;
    this.granule = Math.max(native.pageSize, Number(geometry.pageSizes & -geometry.pageSizes));
    this.#allocator = new IovaAllocator(geometry.iovaRanges, native.pageSize);
    for (const { iova, size } of mappings) this.#allocator.reserve(iova, size);
  }

  take({ size, pageSize }: Placeable, options: MapOptions, mappings: Iterable<IovaSpan>): bigint {
    const { iova, alignment = native.pageSize, maxIova } = options;
    assertAlignment(alignment);
    if (iova === undefined) {
      // On the boundary of its pages, memory takes as few entries of the IOMMU as there can be.
      const whole = Math.max(alignment, pageSize, this.granule);
      return this.#allocator.allocate(size, { alignment: whole, maxIova });
    }
    const last = iova + BigInt(size) - 1n;
    if (maxIova !== undefined && last > maxIova) {
      throw new VfioError(
        'ERR_VFIO_IOVA_OUTSIDE',
        `IOVA 0x${iova.toString(16)} for ${size} bytes ends above 0x${maxIova.toString(16)}`,
      );
    }
    try {
      this.#allocator.reserve(iova, size);
      return iova;
    } catch (error) {
      const broken = brokenRule({ iova, size, pageSize }, this.geometry, mappings);
      if (!broken) throw error;
      const { code, rule } = broken;
      throw new VfioError(code, `IOVA 0x${iova.toString(16)} for ${size} bytes: ${rule}`);
    }
  }

  free(iova: bigint, size: number): void {
    this.#allocator.free(iova, size);
  }
}
