/** A udev rule that has a device bound to a driver from its first moment at each boot. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UDEV_RULES } from './paths';
import { readPciDevice } from './sysfs';

export interface UdevRule {
  readonly path: string;
  readonly text: string;
}

/** Before 80-drivers.rules, which loads the module that would take the device else. */
const fileOf = (bdf: string) => join(UDEV_RULES, `70-vfio-${bdf}.rules`);

/** The address and the ids have to match: addresses move when cards are added. */
export function ruleFor(address: string, driver: string): UdevRule {
  const { bdf, vendor, device } = readPciDevice(address);
  const id = (value: number) => `0x${value.toString(16).padStart(4, '0')}`;
  const text =
    `ACTION=="add", SUBSYSTEM=="pci", KERNEL=="${bdf}", ATTR{vendor}=="${id(vendor)}", ` +
    `ATTR{device}=="${id(device)}", ATTR{driver_override}="${driver}", RUN{builtin}+="kmod load ${driver}"\n`;
  return { path: fileOf(bdf), text };
}

export function installRule(address: string, driver: string): void {
  const { path, text } = ruleFor(address, driver);
  mkdirSync(UDEV_RULES, { recursive: true });
  writeFileSync(path, text);
}

/** Does nothing where there is none. */
export function removeRule(bdf: string): void {
  rmSync(fileOf(bdf), { force: true });
}
