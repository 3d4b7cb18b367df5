/** Requests about the reset of a PCI slot or bus, with all devices on it. */
import { isErrno, VfioError } from '../errors';
import * as c from './abi/hot-reset-constants';
import * as s from './abi/hot-reset-structs';
import { callStruct, callStructAsync } from './call';

/** A device that the reset affects. */
export interface DependentDevice {
  /** `0000:01:00.0`. */
  readonly bdf: string;
  /** Its IOMMU group, if the device that was asked was opened by its group. */
  readonly group?: number;
  /** Its id in the iommufd, VFIO_PCI_DEVID_OWNED or VFIO_PCI_DEVID_NOT_OWNED, if by its character device. */
  readonly devid?: number;
}

/** All that a segment can address (PCIe 6.0, 2.2.6.2: requester ids have 16 bits). */
const MAX_FUNCTIONS = 0x1_0000;

function plausible(count: number, most: number): number {
  if (count <= most) return count;
  throw new VfioError(
    'ERR_VFIO_MALFORMED',
    `the kernel reports ${count} devices on one bus or slot`,
  );
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

/**
 * The devices that a hot reset of this one would reset: on its slot if that can be reset by itself,
 * else on its bus and below.
 * @throws ENODEV if neither can be reset, EPERM if one of them is in no IOMMU group
 */
export function deviceGetPciHotResetInfo(fd: number): DependentDevice[] {
  const { size } = s.vfio_pci_dependent_device;
  for (let room = 1; ; ) {
    const arg = s.vfio_pci_hot_reset_info.create(room * size);
    try {
      callStruct(fd, 'VFIO_DEVICE_GET_PCI_HOT_RESET_INFO', arg);
    } catch (error) {
      if (!isErrno(error, 'ENOSPC') || arg.count <= room) throw error;
      room = plausible(arg.count, MAX_FUNCTIONS);
      continue;
    }
    plausible(arg.count, room);
    const byId = (arg.flags & c.VFIO_PCI_HOT_RESET_FLAG_DEV_ID) !== 0;
    return Array.from({ length: arg.count }, (_, i) => {
      const at = s.vfio_pci_hot_reset_info.size + i * size;
      const { segment, bus, devfn, group_id, devid } = s.vfio_pci_dependent_device.view(
        arg.bytes.subarray(at),
      );
      const bdf = `${hex(segment, 4)}:${hex(bus, 2)}:${hex(devfn >> 3, 2)}.${devfn & 7}`;
      return byId ? { bdf, devid } : { bdf, group: group_id };
    });
  }
}

/**
 * Reset them all, on the thread pool. `groups`: the descriptors of the groups of all of them; none for
 * a device that was opened by its character device, where they all have to be of its iommufd.
 * @throws EINVAL if one of them is not the caller's, EBUSY if one is being mapped or reset meanwhile,
 * ENODEV as deviceGetPciHotResetInfo
 */
export async function devicePciHotReset(fd: number, groups: readonly number[]): Promise<void> {
  const arg = s.vfio_pci_hot_reset.create(4 * groups.length);
  arg.count = groups.length;
  const data = new DataView(arg.bytes.buffer, s.vfio_pci_hot_reset.size);
  groups.forEach((group, i) => {
    data.setInt32(4 * i, group, true);
  });
  await callStructAsync(fd, 'VFIO_DEVICE_PCI_HOT_RESET', arg);
}
