/** Binding a device to a driver as a transaction: save, bind, verify, roll back. */

import { constants } from 'node:fs';
import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno, VfioError } from '../errors';
import { hints } from '../hints';
import { allowsUnprotected } from './iommu-group';
import { SYS } from './paths';
import { PCI_DRIVERS, type PciDevice, readAttribute, readLinkName, readPciDevice } from './sysfs';

interface DriverState {
  readonly driver: string | undefined;
  /** Empty where there is none. */
  readonly override: string;
}

export interface Binding {
  readonly bdf: string;
  readonly driver: string;
  /** The driver it had before, if any. */
  readonly previousDriver: string | undefined;
  /** Give the device back: driver and driver_override as they were. Does nothing the second time. */
  restore(): Promise<void>;
}

/**
 * Bind a device to a driver. On failure the device has its old driver again.
 * @throws ERR_VFIO_BIND_FAILED, ERR_VFIO_UNAVAILABLE (no such driver), EACCES (not root)
 */
export async function bindDriver(address: string, driver = 'vfio-pci'): Promise<Binding> {
  const device = readPciDevice(address);
  const before = readState(device);
  await assertDriver(driver);
  if (driver.startsWith('vfio') && device.iommuGroup === undefined && !allowsUnprotected()) {
    // The kernel would say EINVAL, after the old driver is gone.
    throw new VfioError('ERR_VFIO_NO_IOMMU_GROUP', `${device.bdf} is in no IOMMU group`, {
      device: device.bdf,
      hint: hints.noIommuGroup(),
    });
  }
  try {
    await apply(device, { driver, override: driver });
  } catch (cause) {
    await apply(device, before);
    throw cause;
  }
  let restored = false;
  return {
    bdf: device.bdf,
    driver,
    previousDriver: before.driver,
    async restore() {
      if (restored) return;
      restored = true;
      await apply(device, before);
    },
  };
}

function readState({ path, driver }: PciDevice): DriverState {
  const override = readAttribute(join(path, 'driver_override'));
  return { driver, override: override === undefined || override === '(null)' ? '' : override };
}

async function assertDriver(driver: string): Promise<void> {
  const path = join(PCI_DRIVERS, driver);
  try {
    if (driver === '' || driver.includes('/')) throw new Error('not a name');
    await access(path);
  } catch (cause) {
    throw new VfioError('ERR_VFIO_UNAVAILABLE', `the kernel has no PCI driver ${driver}`, {
      path,
      hint: driver === 'vfio-pci' ? hints.modulesMissing() : `modprobe ${driver}`,
      cause,
    });
  }
}

async function apply(device: PciDevice, wanted: DriverState): Promise<void> {
  const { path, bdf } = device;
  const current = () => readLinkName(join(path, 'driver'));
  const was = current();
  if (was !== wanted.driver && was !== undefined) await write(join(path, 'driver/unbind'), bdf);
  await write(join(path, 'driver_override'), `${wanted.override}\n`);
  if (wanted.driver !== undefined && current() === undefined) {
    // Answers success also where the driver's probe fails; its own bind file tells why.
    await write(join(SYS, 'bus/pci/drivers_probe'), bdf);
    if (current() === undefined) await write(join(PCI_DRIVERS, wanted.driver, 'bind'), bdf);
  }
  if (current() !== wanted.driver) {
    throw new VfioError(
      'ERR_VFIO_BIND_FAILED',
      `${bdf} is bound to ${current() ?? 'no driver'}, not to ${wanted.driver ?? 'none'}`,
      { device: bdf, path, hint: 'dmesg tells what the driver had against it' },
    );
  }
}

async function write(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, { flag: constants.O_WRONLY });
  } catch (cause) {
    const { code = 'ERR_VFIO_BIND_FAILED', errno } = cause as NodeJS.ErrnoException;
    const denied = isErrno(cause, 'EACCES') || isErrno(cause, 'EPERM');
    throw new VfioError(code, `writing ${JSON.stringify(text.trim())} to ${path}: ${code}`, {
      ...(errno === undefined ? {} : { errno: Math.abs(errno) }),
      syscall: 'write',
      path,
      hint: denied ? hints.rootNeeded(path) : 'dmesg tells what the kernel had against it',
      cause,
    });
  }
}
