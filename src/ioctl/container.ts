/** Requests on a container (/dev/vfio/vfio) and its type1 IOMMU. */

import * as c from './abi/constants';
import * as s from './abi/structs';
import {
  callStructAsync,
  callStructSized,
  callValue,
  callValueAsync,
  farewellStruct,
  isBrief,
  prepareStruct,
} from './call';
import { type Capability, callWithCapabilities, trailing } from './capabilities';

/** Arguments that are kept: memory for new ones costs more than these requests. */
const briefMap = s.vfio_iommu_type1_dma_map.create();
const briefUnmap = s.vfio_iommu_type1_dma_unmap.create();

export function getApiVersion(fd: number): number {
  return callValue(fd, 'VFIO_GET_API_VERSION');
}

/** Positive where the kernel supports the extension (`VFIO_TYPE1v2_IOMMU`, ...), else 0. */
export function checkExtension(fd: number, extension: number): number {
  return callValue(fd, 'VFIO_CHECK_EXTENSION', extension);
}

/** On the thread pool. @throws EINVAL without a group in the container, or the second time. */
export async function setIommu(fd: number, type: number): Promise<void> {
  await callValueAsync(fd, 'VFIO_SET_IOMMU', type);
}

/** Both ends inclusive, as the kernel reports them. */
export interface IovaRange {
  readonly start: bigint;
  readonly end: bigint;
}

export interface IommuInfo {
  /** Bit n set: pages of 2^n bytes can be mapped. */
  readonly pageSizes: bigint;
  /** Undefined on kernels that do not report them (before 5.4). */
  readonly iovaRanges: IovaRange[] | undefined;
  /** Mappings that can still be made; undefined before 5.10. */
  readonly dmaAvail: number | undefined;
  /** Undefined if the kernel cannot track dirty pages (before 5.8). */
  readonly migration: IommuMigrationInfo | undefined;
}

/** What VFIO_IOMMU_DIRTY_PAGES can do. */
export interface IommuMigrationInfo {
  /** Bit n set: a bit of the dirty bitmap can stand for a page of 2^n bytes. */
  readonly pageSizes: bigint;
  /** Bytes of bitmap that one request can ask for. */
  readonly maxDirtyBitmapSize: bigint;
}

export function iommuGetInfo(fd: number): IommuInfo {
  const { info, capabilities } = callWithCapabilities(
    fd,
    'VFIO_IOMMU_GET_INFO',
    s.vfio_iommu_type1_info,
    c.VFIO_IOMMU_INFO_CAPS,
  );
  const ranges = capabilities.find((cap) => cap.id === c.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
  const avail = capabilities.find((cap) => cap.id === c.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
  const migration = capabilities.find((cap) => cap.id === c.VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION);
  const rangeCap = s.vfio_iommu_type1_info_cap_iova_range;
  return {
    pageSizes: info.flags & c.VFIO_IOMMU_INFO_PGSIZES ? info.iova_pgsizes : 4096n,
    iovaRanges:
      ranges &&
      trailing(ranges, rangeCap.size, rangeCap.view(ranges.bytes).nr_iovas, s.vfio_iova_range).map(
        ({ start, end }) => ({ start, end }),
      ),
    dmaAvail: avail && s.vfio_iommu_type1_info_dma_avail.view(avail.bytes).avail,
    migration: migration && migrationInfo(migration),
  };
}

function migrationInfo({ bytes }: Capability): IommuMigrationInfo {
  const cap = s.vfio_iommu_type1_info_cap_migration.view(bytes);
  return { pageSizes: cap.pgsize_bitmap, maxDirtyBitmapSize: cap.max_dirty_bitmap_size };
}

/** Pins the pages, so it can take long: on the thread pool. `flags`: VFIO_DMA_MAP_FLAG_*. */
export async function iommuMapDma(
  fd: number,
  vaddr: bigint,
  iova: bigint,
  size: bigint,
  flags: number,
): Promise<void> {
  const arg = isBrief(size) ? briefMap : s.vfio_iommu_type1_dma_map.create();
  fillMap(arg, vaddr, iova, size, flags);
  await callStructSized(fd, 'VFIO_IOMMU_MAP_DMA', arg, size);
}

function fillMap(
  arg: typeof briefMap,
  vaddr: bigint,
  iova: bigint,
  size: bigint,
  flags: number,
): void {
  arg.flags = flags;
  arg.vaddr = vaddr;
  arg.iova = iova;
  arg.size = size;
}

/** As iommuMapDma, to be made again and again. */
export function prepareMapDma(
  fd: number,
  vaddr: bigint,
  iova: bigint,
  size: bigint,
  flags: number,
): () => void {
  const arg = s.vfio_iommu_type1_dma_map.create();
  fillMap(arg, vaddr, iova, size, flags);
  return prepareStruct(fd, 'VFIO_IOMMU_MAP_DMA', arg);
}

/** As iommuUnmapDma, to be made again and again. */
export function prepareUnmapDma(fd: number, iova: bigint, size: bigint): () => void {
  return prepareStruct(fd, 'VFIO_IOMMU_UNMAP_DMA', unmapArgument(iova, size));
}

/** As iommuUnmapDma, when this thread ends: see farewellStruct. */
export function farewellUnmapDma(
  fd: number,
  iova: bigint,
  size: bigint,
  memory: Uint8Array,
): number {
  return farewellStruct(fd, 'VFIO_IOMMU_UNMAP_DMA', unmapArgument(iova, size), memory);
}

/**
 * Give a mapping whose address iommuUnmapDmaVaddr took away a new one, of the same memory; `iova` and
 * `size` are those of the mapping. Needs VFIO_UPDATE_VADDR.
 */
export async function iommuMapDmaVaddr(
  fd: number,
  vaddr: bigint,
  iova: bigint,
  size: bigint,
): Promise<void> {
  await iommuMapDma(fd, vaddr, iova, size, c.VFIO_DMA_MAP_FLAG_VADDR);
}

function unmapArgument(iova: bigint, size: bigint) {
  const arg = s.vfio_iommu_type1_dma_unmap.create();
  arg.iova = iova;
  arg.size = size;
  return arg;
}

/** Bytes unmapped: 0 where nothing was mapped. */
export async function iommuUnmapDma(fd: number, iova: bigint, size: bigint): Promise<bigint> {
  const arg = isBrief(size) ? briefUnmap : s.vfio_iommu_type1_dma_unmap.create();
  arg.iova = iova;
  arg.size = size;
  const done = callStructSized(fd, 'VFIO_IOMMU_UNMAP_DMA', arg, size);
  // What is kept is read before anybody else can use it.
  if (typeof done !== 'number') await done;
  return arg.size;
}

/** Bytes unmapped. Unpins them all: on the thread pool. Needs VFIO_UNMAP_ALL. */
export async function iommuUnmapAll(fd: number): Promise<bigint> {
  const arg = unmapArgument(0n, 0n);
  arg.flags = c.VFIO_DMA_UNMAP_FLAG_ALL;
  await callStructAsync(fd, 'VFIO_IOMMU_UNMAP_DMA', arg);
  return arg.size;
}

/**
 * Take the process addresses away from the mappings in a range, and leave the mappings: devices go on
 * with DMA while another process takes over. Needs VFIO_UPDATE_VADDR.
 */
export async function iommuUnmapDmaVaddr(fd: number, iova: bigint, size: bigint): Promise<void> {
  const arg = unmapArgument(iova, size);
  arg.flags = c.VFIO_DMA_UNMAP_FLAG_VADDR;
  await callStructAsync(fd, 'VFIO_IOMMU_UNMAP_DMA', arg);
}

/** As iommuUnmapDmaVaddr, for all mappings of the container. */
export async function iommuUnmapAllVaddr(fd: number): Promise<void> {
  const arg = unmapArgument(0n, 0n);
  arg.flags = c.VFIO_DMA_UNMAP_FLAG_ALL | c.VFIO_DMA_UNMAP_FLAG_VADDR;
  await callStructAsync(fd, 'VFIO_IOMMU_UNMAP_DMA', arg);
}
