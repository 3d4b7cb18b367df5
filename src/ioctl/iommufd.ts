/** Requests on an iommufd (/dev/iommu) as a whole: its objects, options and devices. */

import * as c from './abi/iommufd-constants';
import * as s from './abi/iommufd-structs';
import { callStruct } from './call';
import { withKernelBuffer } from './kernel-buffer';

/** Destroy an object by its id. @throws ENOENT, EBUSY while another object uses it */
export function iommuDestroy(fd: number, id: number): void {
  const arg = s.iommu_destroy.create();
  arg.id = id;
  callStruct(fd, 'IOMMU_DESTROY', arg);
}

function option(optionId: number, objectId: number, op: number, value: bigint) {
  const arg = s.iommu_option.create();
  arg.option_id = optionId;
  arg.object_id = objectId;
  arg.op = op;
  arg.val64 = value;
  return arg;
}

/**
 * IOMMU_OPTION_RLIMIT_MODE (object 0): 0 counts pinned memory per user, 1 per process.
 * IOMMU_OPTION_HUGE_PAGES (object: an IOAS): 0 maps in single pages, 1 combines them.
 * @throws EOPNOTSUPP for an option that the kernel does not know
 */
export function iommuOptionGet(fd: number, optionId: number, objectId: number): bigint {
  const arg = option(optionId, objectId, c.IOMMU_OPTION_OP_GET, 0n);
  callStruct(fd, 'IOMMU_OPTION', arg);
  return arg.val64;
}

/**
 * @throws EPERM (RLIMIT_MODE needs CAP_SYS_RESOURCE), EBUSY (RLIMIT_MODE once there are objects), EINVAL
 * (HUGE_PAGES once there are mappings that a device reaches)
 */
export function iommuOptionSet(
  fd: number,
  optionId: number,
  objectId: number,
  value: bigint,
): void {
  callStruct(fd, 'IOMMU_OPTION', option(optionId, objectId, c.IOMMU_OPTION_OP_SET, value));
}

function vfioIoas(fd: number, op: number, ioasId: number): number {
  const arg = s.iommu_vfio_ioas.create();
  arg.op = op;
  arg.ioas_id = ioasId;
  callStruct(fd, 'IOMMU_VFIO_IOAS', arg);
  return arg.ioas_id;
}

/** The IOAS that groups get for which this iommufd is the container. @throws ENODEV if there is none */
export function iommuVfioIoasGet(fd: number): number {
  return vfioIoas(fd, c.IOMMU_VFIO_IOAS_GET, 0);
}

/** Affects groups that join afterwards. @throws ENOENT if there is no such IOAS */
export function iommuVfioIoasSet(fd: number, ioasId: number): void {
  vfioIoas(fd, c.IOMMU_VFIO_IOAS_SET, ioasId);
}

/** The IOAS itself stays. */
export function iommuVfioIoasClear(fd: number): void {
  vfioIoas(fd, c.IOMMU_VFIO_IOAS_CLEAR, 0);
}

export interface IommuHwInfo {
  /** IOMMU_HW_INFO_TYPE_*: whose registers `data` holds. */
  readonly type: number;
  /** `iommu_hw_info_vtd` and its like; empty if the driver reports none. */
  readonly data: Uint8Array<ArrayBuffer>;
  /** IOMMU_HW_CAP_*. */
  readonly capabilities: bigint;
  /** Width of the PASIDs that the device can use; 0 if it has none. */
  readonly maxPasidLog2: number;
}

/**
 * The IOMMU behind a device, by the device's id. With `type`, what it says about itself in that form.
 * @throws ENOENT if there is no such device, EOPNOTSUPP if the kernel does not know the type
 */
export function iommuHwInfo(
  fd: number,
  deviceId: number,
  type = c.IOMMU_HW_INFO_TYPE_DEFAULT,
): IommuHwInfo {
  const request = (address: bigint, length: number) => {
    const arg = s.iommu_hw_info.create();
    arg.dev_id = deviceId;
    arg.data_uptr = address;
    arg.data_len = length;
    if (type !== c.IOMMU_HW_INFO_TYPE_DEFAULT) {
      arg.flags = c.IOMMU_HW_INFO_FLAG_INPUT_TYPE;
      arg.out_data_type = type;
    }
    callStruct(fd, 'IOMMU_GET_HW_INFO', arg);
    return arg;
  };
  const { data_len: length } = request(0n, 0);
  return withKernelBuffer(length, ({ address, bytes }) => {
    const info = request(length === 0 ? 0n : address, length);
    return {
      type: info.out_data_type,
      data: bytes.slice(),
      capabilities: info.out_capabilities,
      maxPasidLog2: info.out_max_pasid_log2,
    };
  });
}

/**
 * Count all memory mapped by iommuIoasMapFile against the calling process from now on: it has taken
 * the iommufd over from another one.
 * @throws EINVAL if there are mappings that iommuIoasMap made; nothing is changed then
 */
export function iommuIoasChangeProcess(fd: number): void {
  callStruct(fd, 'IOMMU_IOAS_CHANGE_PROCESS', s.iommu_ioas_change_process.create());
}
