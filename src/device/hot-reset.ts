/** The reset of a whole PCI slot or bus, with all devices on it. */
import { isErrno, VfioError } from '../errors';
import { hints } from '../hints';
import { VFIO_PCI_DEVID_NOT_OWNED } from '../ioctl/abi/hot-reset-constants';
import * as ioctl from '../ioctl/hot-reset';
import { readPciDevice } from '../pci/sysfs';
import { isVfioDriver } from '../pci/vfio-driver';
import { Group } from './group';

/** A device that would be reset, too. */
export interface AffectedDevice {
  readonly bdf: string;
  /** Why this device keeps the reset from happening, if it does. */
  readonly blocker: string | undefined;
}

/**
 * The devices that a hot reset of `bdf` would reset, itself among them.
 * @throws ERR_VFIO_NO_RESET if neither its slot nor its bus can be reset
 */
export function affectedDevices(fd: number, bdf: string): AffectedDevice[] {
  return dependents(fd, bdf).map((device) => ({ bdf: device.bdf, blocker: blockerOf(device) }));
}

/** @throws ERR_VFIO_NO_RESET if there is none or a device blocks it, EBUSY */
export async function hotReset(fd: number, bdf: string): Promise<void> {
  const devices = dependents(fd, bdf);
  const blockers = devices
    .map((device) => [device.bdf, blockerOf(device)])
    .filter(([, blocker]) => blocker !== undefined);
  if (blockers.length > 0) {
    throw new VfioError('ERR_VFIO_NO_RESET', `the slot or bus of ${bdf} cannot be reset`, {
      device: bdf,
      hint: hints.hotResetBlocked(blockers.map(([device, blocker]) => `${device} is ${blocker}`)),
    });
  }
  const ids = new Set(devices.map(({ group }) => group).filter((id) => id !== undefined));
  // Held, so that none is closed, and its number taken by another file, on the way to the kernel.
  const groups: Group[] = [];
  try {
    for (const id of ids) groups.push(await Group.acquire(id));
    await ioctl.devicePciHotReset(
      fd,
      groups.map((group) => group.fd),
    );
  } finally {
    for (const group of groups) await group.release();
  }
}

function dependents(fd: number, bdf: string): ioctl.DependentDevice[] {
  try {
    return ioctl.deviceGetPciHotResetInfo(fd);
  } catch (error) {
    if (!isErrno(error, 'ENODEV')) throw error;
    throw new VfioError('ERR_VFIO_NO_RESET', `neither slot nor bus of ${bdf} can be reset`, {
      device: bdf,
      hint: hints.noBusReset(),
      cause: error,
    });
  }
}

function blockerOf({ bdf, group, devid }: ioctl.DependentDevice): string | undefined {
  const { driver, physfn } = readPciDevice(bdf);
  // The kernel has VFs apart from what shares the reset of their PF, and so refuses.
  if (physfn !== undefined) return 'a VF, which has to go first (sriov.setNumVfs(0))';
  if (driver === undefined) return 'bound to no driver, where vfio-pci is needed';
  if (!isVfioDriver(driver)) return `bound to ${driver}, where vfio-pci is needed`;
  if (group !== undefined && !Group.isOpen(group))
    return `in IOMMU group ${group}, which is not open here`;
  if (devid === VFIO_PCI_DEVID_NOT_OWNED) return 'not open in the same iommufd';
  return undefined;
}
