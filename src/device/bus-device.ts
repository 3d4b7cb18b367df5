/** A device that VFIO may have, on whatever bus, by its name in sysfs. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { VfioError } from '../errors';
import { hints } from '../hints';
import { SYS } from '../pci/paths';
import { listDirectory, readLinkName, readPciDevice } from '../pci/sysfs';
import { isVfioDriver } from '../pci/vfio-driver';
import { isUuid } from './uuid';

export interface BusDevice {
  /** A PCI address, the UUID of a mediated device, or the name of a platform device. */
  readonly name: string;
  /** Its directory in sysfs. */
  readonly path: string;
  readonly driver: string | undefined;
  readonly iommuGroup: number | undefined;
}

/** @throws ERR_VFIO_INVALID_BDF for what is no name at all, ERR_VFIO_NO_DEVICE */
export function findDevice(name: string): BusDevice {
  if (isUuid(name)) return onBus('mdev', name.toLowerCase());
  const platform =
    typeof name === 'string' && /^\w[\w.:-]*$/.test(name) ? onPlatform(name) : undefined;
  if (platform) return platform;
  const { bdf, path, driver, iommuGroup } = readPciDevice(name);
  return { name: bdf, path, driver, iommuGroup };
}

/** Whether a VFIO driver has it: vfio-pci, one of its variants, or the driver of a mediated device. */
export function hasVfioDriver({ driver, path }: BusDevice): boolean {
  if (driver === undefined) return false;
  // What every VFIO device has since Linux 6.1.
  return isVfioDriver(driver) || listDirectory(join(path, 'vfio-dev')).length > 0;
}

function onPlatform(name: string): BusDevice | undefined {
  return existsSync(join(SYS, 'bus/platform/devices', name)) ? onBus('platform', name) : undefined;
}

function onBus(bus: string, name: string): BusDevice {
  const path = join(SYS, 'bus', bus, 'devices', name);
  if (!existsSync(path)) {
    throw new VfioError('ERR_VFIO_NO_DEVICE', `there is no ${bus} device ${name}`, {
      device: name,
      path,
      hint: bus === 'mdev' ? hints.noSuchMdev() : hints.noSuchDevice(),
    });
  }
  const group = readLinkName(join(path, 'iommu_group'));
  return {
    name,
    path,
    driver: readLinkName(join(path, 'driver')),
    iommuGroup: group === undefined ? undefined : Number(group),
  };
}
