/** What regions a device has. */
import { isErrno } from '../errors';
import * as abi from '../ioctl/abi/constants';
import { deviceGetRegionInfo, type RegionInfo } from '../ioctl/device';
import { type RegionType, regionType } from '../ioctl/region-info';
import { type RegionName, regionIndices } from './region';

export interface RegionSummary {
  /** For `device.region()`. */
  readonly index: number;
  /** Of those that every PCI device has. */
  readonly name: RegionName | undefined;
  /** Bytes. */
  readonly size: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Whether it, or parts of it, can be mapped. */
  readonly mappable: boolean;
  /** What a region of the device's own is (VFIO_REGION_TYPE_*), where the kernel tells. */
  readonly type: RegionType | undefined;
}

/** mdpy has its plane in region 16, of the 9 that it counts. */
const PROBED = 32;

/** Indices of the regions to ask for: more than a driver counts. What it does not have it refuses. */
export function possibleRegions(count: number): number[] {
  return Array.from({ length: Math.max(count, PROBED) }, (_, index) => index);
}

/** Undefined for an index that the device does not have, or that it counts and then refuses (VGA). */
export function regionInfo(deviceFd: number, index: number): RegionInfo | undefined {
  try {
    return deviceGetRegionInfo(deviceFd, index);
  } catch (error) {
    if (isErrno(error, 'EINVAL')) return undefined;
    throw error;
  }
}

/** `infoOf`: undefined for an index that the device does not have. `names`: those that the device's bus gives. */
export function listRegions(
  count: number,
  names: readonly RegionName[],
  infoOf: (index: number) => RegionInfo | undefined,
): RegionSummary[] {
  return possibleRegions(count)
    .map(infoOf)
    .filter((info) => info !== undefined && info.size > 0)
    .map((info) => {
      const { index, size, flags } = info as RegionInfo;
      return {
        index,
        name: names.find((name) => regionIndices[name] === index),
        size,
        readable: (flags & abi.VFIO_REGION_INFO_FLAG_READ) !== 0,
        writable: (flags & abi.VFIO_REGION_INFO_FLAG_WRITE) !== 0,
        mappable: (flags & abi.VFIO_REGION_INFO_FLAG_MMAP) !== 0,
        type: regionType(info as RegionInfo),
      };
    });
}
