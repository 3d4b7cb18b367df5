/** Checks for bindings that were left half done. */
import { hints } from '../hints';
import { driverOverride } from '../pci/binding/bind';
import {
  loadBinding,
  recordPath,
  type SavedBinding,
  savedAddresses,
} from '../pci/binding/saved-bindings';
import type { PciDevice } from '../pci/sysfs';
import { adviseRestore } from './advice';
import type { Finding } from './finding';

/** A `vfio bind` that was killed midway; the next one, or `vfio restore`, undoes it. */
export function checkAbandoned(): Finding[] {
  return savedAddresses()
    .flatMap(readRecord)
    .filter(({ complete }) => !complete)
    .map(({ bdf, driver }) => ({
      id: 'abandoned-binding',
      level: 'warning',
      evidence: `${recordPath(bdf)}: not complete`,
      meaning: `binding ${bdf} to ${driver} was not brought to its end, unless somebody is at it now`,
      fix: {
        text: hints.restoreBinding(bdf),
        ...adviseRestore(bdf),
        risk: 'none: it gets the driver that it had',
        reboot: false,
      },
    }));
}

/** `vfio restore` tells of damaged ones. */
function readRecord(bdf: string): SavedBinding[] {
  try {
    return [loadBinding(bdf) ?? []].flat();
  } catch {
    return [];
  }
}

/** An override keeps all other drivers away, also after a `modprobe`. */
export function checkOverride(device: PciDevice): Finding[] {
  const { driver } = device;
  const override = driverOverride(device.bdf);
  if (override === '' || override === driver) return [];
  const { bdf, path } = device;
  return [
    {
      id: 'stale-override',
      level: 'warning',
      evidence: `${path}/driver_override: ${override}; ${path}/driver: ${driver ?? 'none'}`,
      meaning: `only ${override} may take it, and has not`,
      fix: {
        text: hints.restoreBinding(bdf),
        ...adviseRestore(bdf),
        risk: 'the kernel chooses a driver, which may use the device at once',
        reboot: false,
      },
    },
  ];
}
