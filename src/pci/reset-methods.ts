/** The ways that the kernel has to reset one function, in its order of preference. */
import { join } from 'node:path';
import { readAttribute, readPciDevice } from './sysfs';

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
