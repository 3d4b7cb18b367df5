/** VFIO_IOMMU_DIRTY_PAGES: which pages of a type1 container devices may have written to. */

import * as c from './abi/constants';
import * as s from './abi/structs';
import { callStructAsync } from './call';
import { readDirtyBitmap } from './dirty-bitmap';
import type { KernelBuffer } from './kernel-buffer';

async function dirtyPages(fd: number, flags: number): Promise<void> {
  const arg = s.vfio_iommu_type1_dirty_bitmap.create();
  arg.flags = flags;
  await callStructAsync(fd, 'VFIO_IOMMU_DIRTY_PAGES', arg);
}

/** Everything that is pinned by now counts as dirty. */
export async function iommuDirtyPagesStart(fd: number): Promise<void> {
  await dirtyPages(fd, c.VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
}

export async function iommuDirtyPagesStop(fd: number): Promise<void> {
  await dirtyPages(fd, c.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
}

function describe(bytes: Uint8Array<ArrayBuffer>, pageSize: number, bitmap: KernelBuffer): void {
  const target = s.vfio_bitmap.view(bytes);
  target.pgsize = BigInt(pageSize);
  target.size = BigInt(bitmap.bytes.length);
  target.data = bitmap.address;
}

/**
 * One bit per page from `iova`, lowest bit first. The range consists of whole mappings, and `pageSize`
 * is the smallest in `IommuInfo.migration`.
 * @throws EINVAL before iommuDirtyPagesStart, for part of a mapping, or for another page size
 */
export function iommuDirtyPagesGetBitmap(
  fd: number,
  iova: bigint,
  size: bigint,
  pageSize: number,
): Promise<Uint8Array<ArrayBuffer>> {
  return readDirtyBitmap(size, pageSize, async (bitmap) => {
    const header = s.vfio_iommu_type1_dirty_bitmap.size;
    const layout = s.vfio_iommu_type1_dirty_bitmap_get;
    const arg = s.vfio_iommu_type1_dirty_bitmap.create(layout.size);
    arg.flags = c.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
    const get = layout.view(arg.bytes.subarray(header));
    get.iova = iova;
    get.size = size;
    describe(get.bytes.subarray(layout.fields.bitmap.offset), pageSize, bitmap);
    await callStructAsync(fd, 'VFIO_IOMMU_DIRTY_PAGES', arg);
  });
}

export interface UnmappedDirty {
  /** Bytes unmapped. */
  readonly size: bigint;
  /** One bit per page from the start of the range, lowest bit first. */
  readonly bitmap: Uint8Array<ArrayBuffer>;
}

/**
 * iommuUnmapDma and the last word on what was dirty, in one step.
 * @throws EINVAL before iommuDirtyPagesStart, for part of a mapping, or for another page size
 */
export async function iommuUnmapDmaGetDirtyBitmap(
  fd: number,
  iova: bigint,
  size: bigint,
  pageSize: number,
): Promise<UnmappedDirty> {
  const header = s.vfio_iommu_type1_dma_unmap.size;
  const arg = s.vfio_iommu_type1_dma_unmap.create(s.vfio_bitmap.size);
  arg.flags = c.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
  arg.iova = iova;
  arg.size = size;
  const bitmap = await readDirtyBitmap(size, pageSize, async (bitmap) => {
    describe(arg.bytes.subarray(header), pageSize, bitmap);
    await callStructAsync(fd, 'VFIO_IOMMU_UNMAP_DMA', arg);
  });
  return { size: arg.size, bitmap };
}
