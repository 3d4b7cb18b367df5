/** A udev rule that has a device bound to a driver from its first moment at each boot. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VfioError } from '../../errors';
import { UDEV_RULES } from '../paths';
import { listDirectory, readPciDevice } from '../sysfs';

export interface UdevRule {
  readonly path: string;
  readonly text: string;
}

/** Before 80-drivers.rules, which loads the module that would take the device else. */
const fileOf = (bdf: string) => join(UDEV_RULES, `70-vfio-${bdf}.rules`);

/**
 * The address and the ids have to match: addresses move when cards are added. Loading the driver
 * binds the device unless it was loaded before, for another one: then the probe does.
 */
export function ruleFor(address: string, driver: string): UdevRule {
  const { bdf, vendor, device } = readPciDevice(address);
  // In a rule, quotes end a value, and $ and % begin substitutions.
  if (!/^[\w.+-]+$/.test(driver)) {
    throw new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `no udev rule can name ${JSON.stringify(driver)}`,
      {
        hint: 'bind it without a rule (--persist)',
      },
    );
  }
  const id = (value: number) => `0x${value.toString(16).padStart(4, '0')}`;
  const parts = [
    'ACTION=="add", SUBSYSTEM=="pci"',
    `KERNEL=="${bdf}", ATTR{vendor}=="${id(vendor)}", ATTR{device}=="${id(device)}"`,
    `ATTR{driver_override}="${driver}", RUN{builtin}+="kmod load ${driver}"`,
    `RUN+="/bin/sh -c 'echo ${bdf} > /sys/bus/pci/drivers_probe'"`,
  ];
  return { path: fileOf(bdf), text: `${parts.join(', ')}\n` };
}

export function installRule({ path, text }: UdevRule): void {
  mkdirSync(UDEV_RULES, { recursive: true });
  writeFileSync(path, text);
}

/** Does nothing where there is none. */
export function removeRule(bdf: string): void {
  if (existsSync(fileOf(bdf))) rmSync(fileOf(bdf));
}

/** The rule's file, where there is one. */
export function rulesOf(bdf: string): string[] {
  return [fileOf(bdf)].filter((path) => existsSync(path));
}

/** What is there, whoever wrote it. */
export function installedRule(bdf: string): UdevRule | undefined {
  const path = fileOf(bdf);
  return existsSync(path) ? { path, text: readFileSync(path, 'utf8') } : undefined;
}

const fileName = /^70-vfio-([0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])\.rules$/;

/** Addresses that have a rule. */
export function ruledAddresses(): string[] {
  return listDirectory(UDEV_RULES).flatMap((name) => fileName.exec(name)?.[1] ?? []);
}
