/** Requests on the I/O address spaces (IOAS) of an iommufd. */
import { isErrno } from '../errors';
import * as c from './abi/iommufd-constants';
import * as s from './abi/iommufd-structs';
import {
  callStruct,
  callStructAsync,
  callStructSized,
  farewellStruct,
  prepareStruct,
} from './call';
import type { IovaRange } from './container';
import { arrayOf, withKernelBuffer } from './kernel-buffer';

const U64_MAX = (1n << 64n) - 1n;

/** A new, empty address space: its id. */
export function iommuIoasAlloc(fd: number): number {
  const arg = s.iommu_ioas_alloc.create();
  callStruct(fd, 'IOMMU_IOAS_ALLOC', arg);
  return arg.out_ioas_id;
}

export interface IoasIovaRanges {
  readonly ranges: IovaRange[];
  /** Every IOVA and length to map is a multiple of it; 1 if anything goes. */
  readonly alignment: bigint;
}

/** What can be mapped now: every device attached may narrow it. @throws ENOENT if there is no such IOAS */
export function iommuIoasIovaRanges(fd: number, ioasId: number): IoasIovaRanges {
  for (let capacity = 16; ; ) {
    const arg = s.iommu_ioas_iova_ranges.create();
    arg.ioas_id = ioasId;
    arg.num_iovas = capacity;
    try {
      return withKernelBuffer(capacity * s.iommu_iova_range.size, (buffer) => {
        arg.allowed_iovas = buffer.address;
        callStruct(fd, 'IOMMU_IOAS_IOVA_RANGES', arg);
        const ranges = arrayOf(buffer, s.iommu_iova_range, arg.num_iovas);
        return {
          ranges: ranges.map(({ start, last }) => ({ start, end: last })),
          alignment: arg.out_iova_alignment,
        };
      });
    } catch (error) {
      if (!isErrno(error, 'EMSGSIZE') || arg.num_iovas <= capacity) throw error;
      capacity = arg.num_iovas;
    }
  }
}

/**
 * Keep `ranges` usable whatever device comes: one that cannot reach them is refused. They replace those
 * of an earlier call, and IOVAs that the kernel chooses lie inside.
 * @throws EADDRINUSE if a device attached cannot reach them all, EINVAL if ranges overlap or hold less
 * than two bytes
 */
export function iommuIoasAllowIovas(
  fd: number,
  ioasId: number,
  ranges: readonly IovaRange[],
): void {
  withKernelBuffer(ranges.length * s.iommu_iova_range.size, (buffer) => {
    arrayOf(buffer, s.iommu_iova_range, ranges.length).forEach((target, i) => {
      target.start = ranges[i]!.start;
      target.last = ranges[i]!.end;
    });
    const arg = s.iommu_ioas_allow_iovas.create();
    arg.ioas_id = ioasId;
    arg.num_iovas = ranges.length;
    arg.allowed_iovas = buffer.address;
    callStruct(fd, 'IOMMU_IOAS_ALLOW_IOVAS', arg);
  });
}

/** Where a mapping goes, and what devices may do with it. */
export interface IoasMapping {
  readonly ioasId: number;
  readonly length: bigint;
  /** IOMMU_IOAS_MAP_READABLE, IOMMU_IOAS_MAP_WRITEABLE. */
  readonly flags: number;
  /** Without one, the kernel chooses. */
  readonly iova?: bigint | undefined;
}

function mapFlags({ flags, iova }: IoasMapping): number {
  return iova === undefined ? flags : flags | c.IOMMU_IOAS_MAP_FIXED_IOVA;
}

/**
 * Map process memory; resolves to the IOVA. Pins the pages, so it can take long: on the thread pool.
 * @throws EEXIST (overlaps a mapping), EINVAL (outside the ranges, alignment), EFAULT (no ordinary
 * memory: a BAR is mapped by iommuIoasMapFile of its dma-buf), ENOMEM (RLIMIT_MEMLOCK), ENOENT (no such
 * IOAS), ENOSPC (no room left to choose from)
 */
export async function iommuIoasMap(
  fd: number,
  vaddr: bigint,
  mapping: IoasMapping,
): Promise<bigint> {
  const arg = mapArgument(vaddr, mapping);
  await callStructSized(fd, 'IOMMU_IOAS_MAP', arg, mapping.length);
  return arg.iova;
}

/** As iommuIoasMap, to be made again and again, at an IOVA that does not change. */
export function prepareIoasMap(fd: number, vaddr: bigint, mapping: IoasMapping): () => void {
  return prepareStruct(fd, 'IOMMU_IOAS_MAP', mapArgument(vaddr, mapping));
}

function mapArgument(vaddr: bigint, mapping: IoasMapping) {
  const arg = s.iommu_ioas_map.create();
  arg.flags = mapFlags(mapping);
  arg.ioas_id = mapping.ioasId;
  arg.user_va = vaddr;
  arg.length = mapping.length;
  arg.iova = mapping.iova ?? 0n;
  return arg;
}

/** Part of a memfd, or of a BAR's dma-buf (deviceFeatureDmaBuf). */
export interface FileRange {
  readonly fd: number;
  readonly start: bigint;
}

/** As iommuIoasMap, of a file. Since Linux 6.13. */
export async function iommuIoasMapFile(
  fd: number,
  file: FileRange,
  mapping: IoasMapping,
): Promise<bigint> {
  const arg = s.iommu_ioas_map_file.create();
  arg.flags = mapFlags(mapping);
  arg.ioas_id = mapping.ioasId;
  arg.fd = file.fd;
  arg.start = file.start;
  arg.length = mapping.length;
  arg.iova = mapping.iova ?? 0n;
  await callStructAsync(fd, 'IOMMU_IOAS_MAP_FILE', arg);
  return arg.iova;
}

/** A place in an IOAS. */
export interface IoasAddress {
  readonly ioasId: number;
  readonly iova: bigint;
}

/** As iommuIoasMap, of memory that another IOAS (or the same) maps already, and that is pinned once. */
export async function iommuIoasCopy(
  fd: number,
  source: IoasAddress,
  mapping: IoasMapping,
): Promise<bigint> {
  const arg = s.iommu_ioas_copy.create();
  arg.flags = mapFlags(mapping);
  arg.dst_ioas_id = mapping.ioasId;
  arg.src_ioas_id = source.ioasId;
  arg.length = mapping.length;
  arg.dst_iova = mapping.iova ?? 0n;
  arg.src_iova = source.iova;
  await callStructAsync(fd, 'IOMMU_IOAS_COPY', arg);
  return arg.dst_iova;
}

/**
 * Take away all mappings inside a range; resolves to the bytes unmapped.
 * @throws ENOENT if nothing is mapped there, or the range cuts a mapping
 */
export async function iommuIoasUnmap(
  fd: number,
  ioasId: number,
  iova: bigint,
  length: bigint,
): Promise<bigint> {
  const arg = unmapArgument(ioasId, iova, length);
  await callStructSized(fd, 'IOMMU_IOAS_UNMAP', arg, length);
  return arg.length;
}

/** As iommuIoasUnmap, to be made again and again. */
export function prepareIoasUnmap(
  fd: number,
  ioasId: number,
  iova: bigint,
  length: bigint,
): () => void {
  return prepareStruct(fd, 'IOMMU_IOAS_UNMAP', unmapArgument(ioasId, iova, length));
}

/** As iommuIoasUnmap, when this thread ends: see farewellStruct. */
export function farewellIoasUnmap(
  fd: number,
  ioasId: number,
  iova: bigint,
  length: bigint,
  memory: Uint8Array,
): number {
  return farewellStruct(fd, 'IOMMU_IOAS_UNMAP', unmapArgument(ioasId, iova, length), memory);
}

function unmapArgument(ioasId: number, iova: bigint, length: bigint) {
  const arg = s.iommu_ioas_unmap.create();
  arg.ioas_id = ioasId;
  arg.iova = iova;
  arg.length = length;
  return arg;
}

/** Bytes unmapped. */
export function iommuIoasUnmapAll(fd: number, ioasId: number): Promise<bigint> {
  return iommuIoasUnmap(fd, ioasId, 0n, U64_MAX);
}

export interface PhysicalRange {
  readonly address: bigint;
  /** How much from there is contiguous, up to what was asked for. */
  readonly length: bigint;
}

/**
 * Where memory mapped at `iova` is, for devices without an IOMMU. Since Linux 7.3.
 * @throws ENOTTY on older kernels, ENOENT if nothing is mapped there
 */
export function iommuIoasNoiommuGetPa(
  fd: number,
  { ioasId, iova }: IoasAddress,
  length: bigint,
): PhysicalRange {
  const arg = s.iommu_ioas_noiommu_get_pa.create();
  arg.ioas_id = ioasId;
  arg.iova = iova;
  arg.length = length;
  callStruct(fd, 'IOMMU_IOAS_NOIOMMU_GET_PA', arg);
  return { address: arg.out_phys, length: arg.length };
}
