/**
 * Requests for nested translation, which a virtual machine's own IOMMU needs: page tables of the user's on
 * top of one of the kernel's, and what hardware offers of a virtual IOMMU. Formats are those of the
 * hardware (IOMMU_HWPT_DATA_* and its like; src/ioctl/abi/iommufd-vendor-structs.ts).
 */
import { VfioError } from '../errors';
import * as c from './abi/iommufd-constants';
import * as s from './abi/iommufd-structs';
import { callStruct, callStructFd } from './call';
import { withKernelBuffer } from './kernel-buffer';

/** What one kind of hardware defines. */
export interface TypedData {
  /** Which kind: a number of the enumeration that the request has for it. */
  readonly type: number;
  readonly bytes: Uint8Array;
}

/**
 * A page table of the user's for a device, in the hardware's format, under `parentId`: its id. The parent
 * is an HWPT made with IOMMU_HWPT_ALLOC_NEST_PARENT, or a virtual IOMMU.
 * @param data IOMMU_HWPT_DATA_*, and where the table is
 * @throws EOPNOTSUPP if the IOMMU has none, EINVAL for data that it does not take, ENOENT
 */
export function iommuHwptAllocNested(
  fd: number,
  deviceId: number,
  parentId: number,
  data: TypedData,
  faultId?: number,
): number {
  return withKernelBuffer(data.bytes.length, ({ address, bytes }) => {
    bytes.set(data.bytes);
    const arg = s.iommu_hwpt_alloc.create();
    arg.dev_id = deviceId;
    arg.pt_id = parentId;
    arg.data_type = data.type;
    arg.data_len = bytes.length;
    arg.data_uptr = address;
    if (faultId !== undefined) {
      arg.flags = c.IOMMU_HWPT_FAULT_ID_VALID;
      arg.fault_id = faultId;
    }
    callStruct(fd, 'IOMMU_HWPT_ALLOC', arg);
    return arg.out_hwpt_id;
  });
}

/**
 * Have the IOMMU forget what it remembers of a page table of the user's, or of the devices of a virtual
 * IOMMU: one entry after the other, until one fails.
 * @param data IOMMU_HWPT_INVALIDATE_DATA_* or IOMMU_VIOMMU_INVALIDATE_DATA_*; all entries, each of `entrySize` bytes
 * @throws EINVAL or EOPNOTSUPP for an entry that the hardware does not take, with how many it took before
 */
export function iommuHwptInvalidate(
  fd: number,
  hwptOrViommuId: number,
  data: TypedData,
  entrySize: number,
): void {
  const count = data.bytes.length / entrySize;
  withKernelBuffer(data.bytes.length, ({ address, bytes }) => {
    bytes.set(data.bytes);
    const arg = s.iommu_hwpt_invalidate.create();
    arg.hwpt_id = hwptOrViommuId;
    arg.data_type = data.type;
    arg.data_uptr = address;
    arg.entry_len = entrySize;
    arg.entry_num = count;
    try {
      callStruct(fd, 'IOMMU_HWPT_INVALIDATE', arg);
    } catch (error) {
      if (!(error instanceof VfioError)) throw error;
      const { code, message, errno, syscall, ioctl } = error;
      const what = `${message}, after ${arg.entry_num} of ${count} entries`;
      throw new VfioError(code, what, { errno, syscall, ioctl, cause: error });
    }
  });
}

export interface Viommu {
  readonly id: number;
  /** What the driver made of the data that it was given. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/**
 * A virtual IOMMU: the part of the physical one behind a device that a virtual machine uses itself.
 * @param parentId an HWPT made with IOMMU_HWPT_ALLOC_NEST_PARENT
 * @param data IOMMU_VIOMMU_TYPE_*
 * @throws EOPNOTSUPP if the IOMMU has none of the type, EINVAL for another parent, ENOENT
 */
export function iommuViommuAlloc(
  fd: number,
  deviceId: number,
  parentId: number,
  data: TypedData,
): Viommu {
  return withKernelBuffer(data.bytes.length, ({ address, bytes }) => {
    bytes.set(data.bytes);
    const arg = s.iommu_viommu_alloc.create();
    arg.type = data.type;
    arg.dev_id = deviceId;
    arg.hwpt_id = parentId;
    arg.data_len = bytes.length;
    arg.data_uptr = bytes.length === 0 ? 0n : address;
    callStruct(fd, 'IOMMU_VIOMMU_ALLOC', arg);
    return { id: arg.out_viommu_id, data: bytes.slice() };
  });
}

/**
 * A device under the number that it has in a virtual IOMMU: the object's id.
 * @throws EEXIST if the device, or the number, is taken already, ENOENT, EINVAL
 */
export function iommuVdeviceAlloc(
  fd: number,
  viommuId: number,
  deviceId: number,
  virtualId: bigint,
): number {
  const arg = s.iommu_vdevice_alloc.create();
  arg.viommu_id = viommuId;
  arg.dev_id = deviceId;
  arg.virt_id = virtualId;
  callStruct(fd, 'IOMMU_VDEVICE_ALLOC', arg);
  return arg.out_vdevice_id;
}

/** Events of a virtual IOMMU. */
export interface VeventQueue {
  readonly id: number;
  /**
   * Owned by the caller: read(2) gives an `iommufd_vevent_header`, then what the type defines. Closed
   * before the queue is destroyed.
   */
  readonly fd: number;
}

/**
 * @param type IOMMU_VEVENTQ_TYPE_*
 * @param depth how many events wait before the kernel drops further ones, and says so
 * @throws EEXIST for a second queue of one type, EOPNOTSUPP, EINVAL for a depth of 0
 */
export function iommuVeventqAlloc(
  fd: number,
  viommuId: number,
  type: number,
  depth: number,
): VeventQueue {
  const arg = s.iommu_veventq_alloc.create();
  arg.viommu_id = viommuId;
  arg.type = type;
  arg.veventq_depth = depth;
  const fdAt = s.iommu_veventq_alloc.fields.out_veventq_fd.offset;
  callStructFd(fd, 'IOMMU_VEVENTQ_ALLOC', arg, fdAt);
  return { id: arg.out_veventq_id, fd: arg.out_veventq_fd };
}

/** Memory that hardware works through by itself, for iommuHwQueueAlloc. */
export interface HwQueue {
  /** IOMMU_HW_QUEUE_TYPE_*. */
  readonly type: number;
  /** Which of those that the virtual IOMMU has, from 0. */
  readonly index: number;
  /** Where it is in the IOAS of the virtual IOMMU's parent; in bytes. It stays mapped as long as the queue is there. */
  readonly iova: bigint;
  readonly length: bigint;
}

/** @throws EOPNOTSUPP if the hardware has none, EEXIST for an index in use, ENOENT if nothing is mapped there */
export function iommuHwQueueAlloc(fd: number, viommuId: number, queue: HwQueue): number {
  const arg = s.iommu_hw_queue_alloc.create();
  arg.viommu_id = viommuId;
  arg.type = queue.type;
  arg.index = queue.index;
  arg.nesting_parent_iova = queue.iova;
  arg.length = queue.length;
  callStruct(fd, 'IOMMU_HW_QUEUE_ALLOC', arg);
  return arg.out_hw_queue_id;
}
