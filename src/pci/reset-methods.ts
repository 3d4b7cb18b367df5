/** The ways that the kernel has to reset one function, in its order of preference. */
import { join } from 'node:path';
import { isBdf } from './address';
import { bridgeAbove, listDirectory, PCI_DEVICES, readAttribute, readPciDevice } from './sysfs';

/**
 * Names as in sysfs: `flr` (function-level reset of PCI Express), `af_flr` (of conventional PCI), `pm`
 * (through D3hot), `bus` (of the bus or slot, where the function is alone on it), `device_specific`,
 * `acpi`, `cxl_bus`. The first that works is taken. Empty if there is none, or before Linux 5.15.
 */
export function resetMethods(bdf: string): string[] {
  const { path } = readPciDevice(bdf);
  const text = readAttribute(join(path, 'reset_method')) ?? '';
  return text.split(/\s+/).filter((name) => /^[a-z_]+$/.test(name));
}

/** The other functions that a reset of its bus takes along; undefined on a root bus, which has none. */
export function onSameBus(bdf: string): string[] | undefined {
  if (bridgeAbove(join(PCI_DEVICES, bdf)) === undefined) return undefined;
  const bus = bdf.slice(0, bdf.lastIndexOf(':') + 1);
  return listDirectory(PCI_DEVICES).filter(
    (name) => isBdf(name) && name.startsWith(bus) && name !== bdf,
  );
}
