/** Displays of a device that show something. */
import { join } from 'node:path';
import { SYS } from '../paths';
import { type PciDevice, readAttribute } from '../sysfs';
import { isVfioDriver } from '../vfio-driver';
import { partsOf, type Use } from './parts';

/** `card0-HDMI-A-1` of DRM is a connector; one that is enabled shows a picture. */
export function displayUses(device: PciDevice): Use[] {
  const parts = partsOf(device, 'drm');
  const lit = parts.filter(
    (name) => readAttribute(join(SYS, 'class/drm', name, 'enabled')) === 'enabled',
  );
  if (lit.length > 0) {
    return lit.map((name) => ({ kind: 'display', name, text: `${name} shows a picture` }));
  }
  const boot = readAttribute(join(device.path, 'boot_vga')) === '1' && device.driver !== undefined;
  if (!boot || isVfioDriver(device.driver)) return [];
  return [
    { kind: 'display', name: device.bdf, text: 'it is the display that the machine booted with' },
  ];
}
