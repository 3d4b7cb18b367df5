/** Requests on the page tables of the IOMMU (HWPT) that an iommufd keeps for its address spaces. */
import * as c from './abi/iommufd-constants';
import * as s from './abi/iommufd-structs';
import { callStructAsync, callStructFd } from './call';
import { readDirtyBitmap } from './dirty-bitmap';

/**
 * A page table for a device, of all that an IOAS maps: its id. The kernel makes one by itself when a
 * device is attached to an IOAS; one of its own is for dirty tracking, PASIDs and page faults. On the
 * thread pool.
 * @param flags IOMMU_HWPT_ALLOC_*
 * @param faultId where page faults of the device go, from iommuFaultQueueAlloc
 * @throws EOPNOTSUPP if the IOMMU cannot, ENOENT if there is no such device or IOAS
 */
export async function iommuHwptAlloc(
  fd: number,
  deviceId: number,
  ioasId: number,
  flags = 0,
  faultId?: number,
): Promise<number> {
  const arg = s.iommu_hwpt_alloc.create();
  arg.flags = flags;
  arg.dev_id = deviceId;
  arg.pt_id = ioasId;
  arg.data_type = c.IOMMU_HWPT_DATA_NONE;
  if (faultId !== undefined) {
    arg.flags |= c.IOMMU_HWPT_FAULT_ID_VALID;
    arg.fault_id = faultId;
  }
  await callStructAsync(fd, 'IOMMU_HWPT_ALLOC', arg);
  return arg.out_hwpt_id;
}

/**
 * `flags`: IOMMU_HWPT_DIRTY_TRACKING_ENABLE, or 0 to stop. Starts with nothing dirty. Walks the page
 * table: on the thread pool.
 * @throws EOPNOTSUPP if the HWPT was not made with IOMMU_HWPT_ALLOC_DIRTY_TRACKING
 */
export async function iommuHwptSetDirtyTracking(
  fd: number,
  hwptId: number,
  flags: number,
): Promise<void> {
  const arg = s.iommu_hwpt_set_dirty_tracking.create();
  arg.hwpt_id = hwptId;
  arg.flags = flags;
  await callStructAsync(fd, 'IOMMU_HWPT_SET_DIRTY_TRACKING', arg);
}

/**
 * What was written to in a range: one bit per `pageSize` bytes (a power of two) from `iova`, lowest bit
 * first. All of it is clean again afterwards, but for `flags` of IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
 * which saves time before the range is unmapped.
 * @throws EINVAL before iommuHwptSetDirtyTracking, or for a range not aligned to the IOMMU's pages
 */
export function iommuHwptGetDirtyBitmap(
  fd: number,
  hwptId: number,
  iova: bigint,
  length: bigint,
  pageSize: number,
  flags = 0,
): Promise<Uint8Array<ArrayBuffer>> {
  return readDirtyBitmap(length, pageSize, async (bitmap) => {
    const arg = s.iommu_hwpt_get_dirty_bitmap.create();
    arg.hwpt_id = hwptId;
    arg.flags = flags;
    arg.iova = iova;
    arg.length = length;
    arg.page_size = BigInt(pageSize);
    arg.data = bitmap.address;
    await callStructAsync(fd, 'IOMMU_HWPT_GET_DIRTY_BITMAP', arg);
  });
}

/** Page faults of devices. */
export interface FaultQueue {
  /** For iommuHwptAlloc. */
  readonly id: number;
  /**
   * Owned by the caller: read(2) gives `iommu_hwpt_pgfault`s, write(2) takes
   * `iommu_hwpt_page_response`s. Closed before the queue is destroyed.
   */
  readonly fd: number;
}

export function iommuFaultQueueAlloc(fd: number): FaultQueue {
  const arg = s.iommu_fault_alloc.create();
  callStructFd(fd, 'IOMMU_FAULT_QUEUE_ALLOC', arg, s.iommu_fault_alloc.fields.out_fault_fd.offset);
  return { id: arg.out_fault_id, fd: arg.out_fault_fd };
}
