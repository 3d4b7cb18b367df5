/** Which driver a device has, and the writes to sysfs that change it. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { VfioError } from '../../errors';
import { hints } from '../../hints';
import { blockingRead } from '../blocking-write';
import { isDenied } from '../denylist';
import { allowsUnprotected, getsGroupWhenProbed } from '../iommu-group';
import { SYS } from '../paths';
import { PCI_DEVICES, PCI_DRIVERS, type PciDevice, readAttribute, readLinkName } from '../sysfs';
import { type SysfsWrite, writeSysfs } from '../sysfs-write';
import { isVfioDriver } from '../vfio-driver';

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

/** A device from one driver to another; null for none or, where the kernel chooses, for its choice. */
export interface Change {
  readonly bdf: string;
  readonly from: string | null;
  readonly to: string | null;
  readonly writes: readonly SysfsWrite[];
  /** VFs of the device, which go with its driver. */
  readonly vfs: readonly string[];
}

/** @throws ERR_VFIO_UNAVAILABLE (no such driver), ERR_VFIO_NO_IOMMU_GROUP, ERR_VFIO_UNSUPPORTED (denylisted) */
export function assertBindable(device: PciDevice, driver: string): void {
  assertDriver(driver);
  if (driver === 'vfio-pci' && isDenied(device)) {
    throw new VfioError(
      'ERR_VFIO_UNSUPPORTED',
      `vfio-pci refuses ${device.bdf}: it is denylisted`,
      {
        device: device.bdf,
        hint: hints.denylist(),
      },
    );
  }
  if (!isVfioDriver(driver) || device.iommuGroup !== undefined) return;
  // The kernel would say EINVAL, after the old driver is gone.
  if (allowsUnprotected() || getsGroupWhenProbed(device)) return;
  throw new VfioError('ERR_VFIO_NO_IOMMU_GROUP', `${device.bdf} is in no IOMMU group`, {
    device: device.bdf,
    hint: hints.noIommuGroup(),
  });
}

/** The device's driver is that of `device`, the override is read now. */
export async function readDriverState({ bdf, driver }: PciDevice): Promise<DriverState> {
  return { driver: driver ?? null, override: await readOverride(bdf) };
}

const overrideFile = (bdf: string) => join(PCI_DEVICES, bdf, 'driver_override');

/** By another process: the kernel keeps the attribute locked while a driver is unbound. Empty where there is none. */
export async function readOverride(bdf: string): Promise<string> {
  return overrideOf(await blockingRead(overrideFile(bdf)).catch(() => undefined));
}

/** The same for commands, which hold no device that could keep it locked. */
export const driverOverride = (bdf: string) => overrideOf(readAttribute(overrideFile(bdf)));

const overrideOf = (text: string | undefined) =>
  text === undefined || text === '(null)' ? '' : text;

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
  for (const step of defaultDriverWrites(device)) await write(step, device.bdf);
}

/** @throws ERR_VFIO_BIND_FAILED, EACCES (not root) */
export async function applyDriver(device: PciDevice, wanted: DriverState): Promise<void> {
  const { path, bdf } = device;
  for (const step of driverWrites(device, wanted)) await write(step, device.bdf);
  // The probe answers success also where the driver refuses; the driver's own bind file tells why.
  if (wanted.driver !== null && currentDriver(path) === null) {
    await write({ path: join(PCI_DRIVERS, wanted.driver, 'bind'), text: bdf }, bdf);
  }
  const current = currentDriver(path);
  if (current !== wanted.driver) {
    throw new VfioError(
      'ERR_VFIO_BIND_FAILED',
      `${bdf} is bound to ${current ?? 'no driver'}, not to ${wanted.driver ?? 'none'}`,
      { device: bdf, path, hint: hints.kernelRefused() },
    );
  }
}

function write({ path, text }: SysfsWrite, device: string): Promise<void> {
  const what = `writing ${JSON.stringify(text.trim())} to ${path}`;
  return writeSysfs({ path, text }, { what, device });
}
