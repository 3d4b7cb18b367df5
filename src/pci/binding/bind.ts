/** Binding a device to a driver as a transaction: save, bind, verify, roll back. */

import { constants, existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno, VfioError } from '../../errors';
import { hints } from '../../hints';
import { allowsUnprotected, getsGroupWhenProbed } from '../iommu-group';
import { SYS } from '../paths';
import { PCI_DRIVERS, type PciDevice, readAttribute, readLinkName, readPciDevice } from '../sysfs';
import { isVfioDriver } from '../vfio-driver';
import { rolledBack } from './roll-back';

/** What of sysfs decides who drives a device. */
export interface DriverState {
  /** null for none. */
  readonly driver: string | null;
  /** Empty where there is none. */
  readonly override: string;
}

/** Whether what a file said is one: it will be written to sysfs. */
export function isDriverState({ driver, override }: DriverState): boolean {
  const name = (value: unknown) => typeof value === 'string' && !/[/\s]/.test(value);
  return (driver === null || name(driver)) && name(override);
}

/** A write to sysfs, as `echo text > path`. */
export interface SysfsWrite {
  readonly path: string;
  readonly text: string;
}

/** A device from one driver to another; null for none or, where the kernel chooses, for its choice. */
export interface Change {
  readonly bdf: string;
  readonly from: string | null;
  readonly to: string | null;
  readonly writes: readonly SysfsWrite[];
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
  const before = readDriverState(device);
  assertBindable(device, driver);
  try {
    await applyDriver(device, { driver, override: driver });
  } catch (cause) {
    const failures = await applyDriver(device, before).then(
      () => [],
      (error: Error) => [error.message],
    );
    throw rolledBack(cause, failures, 'dmesg tells what was against it');
  }
  let restored = false;
  return {
    bdf: device.bdf,
    driver,
    previousDriver: before.driver ?? undefined,
    async restore() {
      if (restored) return;
      restored = true;
      await applyDriver(device, before);
    },
  };
}

/** @throws ERR_VFIO_UNAVAILABLE (no such driver), ERR_VFIO_NO_IOMMU_GROUP */
export function assertBindable(device: PciDevice, driver: string): void {
  assertDriver(driver);
  if (!isVfioDriver(driver) || device.iommuGroup !== undefined) return;
  // The kernel would say EINVAL, after the old driver is gone.
  if (allowsUnprotected() || getsGroupWhenProbed(device)) return;
  throw new VfioError('ERR_VFIO_NO_IOMMU_GROUP', `${device.bdf} is in no IOMMU group`, {
    device: device.bdf,
    hint: hints.noIommuGroup(),
  });
}

export function readDriverState({ path, driver }: PciDevice): DriverState {
  const override = readAttribute(join(path, 'driver_override'));
  const none = override === undefined || override === '(null)';
  return { driver: driver ?? null, override: none ? '' : override };
}

/** @throws ERR_VFIO_UNAVAILABLE */
export function assertDriver(driver: string): void {
  const path = join(PCI_DRIVERS, driver);
  if (/^[^/\s]+$/.test(driver) && !/^\.+$/.test(driver) && existsSync(path)) return;
  throw new VfioError('ERR_VFIO_UNAVAILABLE', `the kernel has no PCI driver ${driver}`, {
    path,
    hint: driver === 'vfio-pci' ? hints.modulesMissing() : `modprobe ${driver}`,
  });
}

const currentDriver = (path: string) => readLinkName(join(path, 'driver')) ?? null;

const probe = (bdf: string): SysfsWrite => ({
  path: join(SYS, 'bus/pci/drivers_probe'),
  text: bdf,
});

/** The writes that bring a device from its present state to another one. */
export function driverWrites({ path, bdf }: PciDevice, wanted: DriverState): SysfsWrite[] {
  const was = currentDriver(path);
  const moves = was !== wanted.driver;
  return [
    ...(moves && was !== null ? [{ path: join(path, 'driver/unbind'), text: bdf }] : []),
    { path: join(path, 'driver_override'), text: `${wanted.override}\n` },
    ...(moves && wanted.driver !== null ? [probe(bdf)] : []),
  ];
}

/** The writes after which the kernel has chosen the driver. */
export function defaultDriverWrites(device: PciDevice): SysfsWrite[] {
  return [...driverWrites(device, { driver: null, override: '' }), probe(device.bdf)];
}

/** Let the kernel choose the driver. @throws EACCES (not root) */
export async function applyDefaultDriver(device: PciDevice): Promise<void> {
  for (const step of defaultDriverWrites(device)) await write(step.path, step.text);
}

/** @throws ERR_VFIO_BIND_FAILED, EACCES (not root) */
export async function applyDriver(device: PciDevice, wanted: DriverState): Promise<void> {
  const { path, bdf } = device;
  for (const step of driverWrites(device, wanted)) await write(step.path, step.text);
  // The probe answers success also where the driver refuses; the driver's own bind file tells why.
  if (wanted.driver !== null && currentDriver(path) === null) {
    await write(join(PCI_DRIVERS, wanted.driver, 'bind'), bdf);
  }
  const current = currentDriver(path);
  if (current !== wanted.driver) {
    throw new VfioError(
      'ERR_VFIO_BIND_FAILED',
      `${bdf} is bound to ${current ?? 'no driver'}, not to ${wanted.driver ?? 'none'}`,
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
