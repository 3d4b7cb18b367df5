import { constants } from 'node:os';
import { systemError, VfioError } from '../errors';
import { VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE } from '../ioctl/abi/constants';
import type { IovaRange } from '../ioctl/container';
import type { MemlockAccounting } from './memlock';

/** What devices may do with memory. */
export type DmaAccess = 'read-write' | 'read' | 'write';

/** VFIO_DMA_MAP_FLAG_*. */
export function accessFlags(access: DmaAccess): number {
  return (
    (access === 'write' ? 0 : VFIO_DMA_MAP_FLAG_READ) |
    (access === 'read' ? 0 : VFIO_DMA_MAP_FLAG_WRITE)
  );
}

/** The error for a space without devices, where the kernel drops its IOMMU with the last. */
export function noIommu(): VfioError {
  return new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'the address space has no IOMMU', {
    hint: 'an IOMMU comes with the first device and goes with the last: open one in this address space first',
  });
}

/** @throws ENOENT if the kernel had less to unmap than it should have: to it, that is no error */
export function assertUnmapped(wanted: bigint, unmapped: bigint): void {
  if (unmapped === wanted) return;
  const what = `unmapping ${wanted} bytes, of which the kernel had ${unmapped}`;
  throw systemError(-constants.errno.ENOENT, what, {
    hint: 'something other than this address space unmaps there',
  });
}

/** The kernel's interfaces for DMA. */
export type BackendName = 'type1' | 'type1v2' | 'iommufd-container' | 'iommufd' | 'noiommu';

export interface Geometry {
  /** Usable IOVAs, both ends inclusive; undefined if the kernel does not report them. */
  readonly iovaRanges: readonly IovaRange[] | undefined;
  /** Bit n set: pages of 2^n bytes can be mapped. */
  readonly pageSizes: bigint;
}

/** One mapping, to be made and taken away; not so large that pinning it takes long. */
export interface PreparedMapping {
  /** @throws as `DmaBackend.map` */
  map(): void;
  unmap(): void;
}

/** One I/O address space of the kernel. Addresses and sizes are multiples of the page size. */
export interface DmaBackend {
  readonly name: BackendName;
  /** As it is now: every device that comes in may narrow it. Undefined while the kernel has no IOMMU for it. */
  geometry(): Geometry | undefined;
  /** Call `listener` as soon as it is known that the kernel has dropped all mappings; absent where it never does. */
  onDropped?(listener: () => void): void;
  /** Map process memory. @throws EEXIST, EINVAL, EFAULT, ENOMEM, ENOSPC */
  map(vaddr: bigint, iova: bigint, size: bigint, access: DmaAccess): Promise<void>;
  /** Map a memfd, or the dma-buf of a BAR, without process memory; absent where the kernel has no such request. */
  mapFile?(
    fd: number,
    offset: bigint,
    iova: bigint,
    size: bigint,
    access: DmaAccess,
  ): Promise<void>;
  /** The memory of one mapping is at another address now: devices go on. Absent where the kernel has no such request. */
  updateVaddr?(vaddr: bigint, iova: bigint, size: bigint): Promise<void>;
  /**
   * To map process memory, and to take it away, again and again, without the way to the thread pool.
   * @throws ERR_VFIO_UNSUPPORTED without an IOMMU
   */
  prepare(vaddr: bigint, iova: bigint, size: bigint, access: DmaAccess): PreparedMapping;
  /** Bytes unmapped: all mappings inside, none in part; 0 where there is none. */
  unmap(iova: bigint, size: bigint): Promise<bigint>;
  /** Bytes unmapped. */
  unmapAll(): Promise<bigint>;
  /**
   * Unmap it when this thread ends without a close: others may hold its devices, which would go on to
   * reach the memory. `memory` is kept alive until then, or until native.farewellCancel, to which this
   * is the argument.
   */
  farewell(iova: bigint, size: bigint, memory: Uint8Array): number;
  /** How many mappings can still be made; undefined if the kernel does not tell. */
  entriesLeft(): number | undefined;
  /** Against whose RLIMIT_MEMLOCK it pins. */
  readonly accounting: MemlockAccounting;
  /** There is no IOMMU: devices use physical addresses. */
  readonly physical?: boolean;
  readonly dirty: DirtyTracking;
  close(): void;
}

/** Which pages devices have written to. */
export interface DirtyTracking {
  /** @throws ERR_VFIO_UNSUPPORTED where neither kernel nor IOMMU can */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** One bit per `pageSize` bytes from `iova`, and start afresh. The window covers whole mappings. */
  read(iova: bigint, size: bigint, pageSize: number): Promise<Uint8Array<ArrayBuffer>>;
  /** The same for the last time, and unmap. */
  readAndUnmap(iova: bigint, size: bigint, pageSize: number): Promise<Uint8Array<ArrayBuffer>>;
}
