/** What the capabilities of VFIO_DEVICE_GET_REGION_INFO say of a region. */
import { VfioError } from '../errors';
import * as c from './abi/constants';
import * as s from './abi/structs';
import { trailing } from './capabilities';
import type { RegionInfo } from './device';

/** Bytes of a region, from its start. */
export interface SparseArea {
  readonly offset: number;
  readonly size: number;
}

/**
 * The parts that can be mapped, ascending; undefined if the region makes no difference.
 * @throws ERR_VFIO_MALFORMED if one is outside of the region, or two overlap
 */
export function regionSparseAreas({
  capabilities,
  size,
  index,
}: RegionInfo): SparseArea[] | undefined {
  const sparse = capabilities.find(({ id }) => id === c.VFIO_REGION_INFO_CAP_SPARSE_MMAP);
  if (!sparse) return undefined;
  const fixed = s.vfio_region_info_cap_sparse_mmap;
  const { nr_areas: count } = fixed.view(sparse.bytes);
  const areas = trailing(sparse, fixed.size, count, s.vfio_region_sparse_mmap_area)
    .map((area) => ({ offset: Number(area.offset), size: Number(area.size) }))
    .filter((area) => area.size > 0)
    .sort((a, b) => a.offset - b.offset);
  let end = 0;
  for (const area of areas) {
    const fits = area.offset >= end && area.offset + area.size <= size;
    end = area.offset + area.size;
    if (fits) continue;
    throw new VfioError(
      'ERR_VFIO_MALFORMED',
      `region ${index}: area at ${area.offset} does not fit`,
    );
  }
  return areas;
}

export interface RegionType {
  /** VFIO_REGION_TYPE_*. */
  readonly type: number;
  /** VFIO_REGION_SUBTYPE_*, of that type. */
  readonly subtype: number;
}

/** What a region beyond the fixed ones is; undefined for those, and where the kernel does not tell. */
export function regionType({ capabilities }: RegionInfo): RegionType | undefined {
  const found = capabilities.find(({ id }) => id === c.VFIO_REGION_INFO_CAP_TYPE);
  if (!found) return undefined;
  const { type, subtype } = s.vfio_region_info_cap_type.view(found.bytes);
  return { type, subtype };
}
