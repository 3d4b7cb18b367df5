/** PCI addresses: DOMAIN:BUS:DEVICE.FUNCTION. */
import { VfioError } from '../errors';
import { hints } from '../hints';

const pattern = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-1][0-9a-f])\.([0-7])$/i;

/** Whether sysfs would spell a PCI function so: names in it may be anything. */
export function isBdf(name: string): boolean {
  return /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]$/.test(name);
}

/**
 * The address as sysfs spells it: lower case, with its domain (0000 if none is given).
 * @throws ERR_VFIO_INVALID_BDF
 */
export function parseBdf(text: string): string {
  const match = typeof text === 'string' ? pattern.exec(text) : null;
  if (!match) {
    const shown = typeof text === 'string' ? JSON.stringify(text) : `a ${typeof text}`;
    throw new VfioError('ERR_VFIO_INVALID_BDF', `not a PCI address: ${shown}`, {
      hint: hints.badBdf(),
    });
  }
  const [, domain = '0000', bus, device, fn] = match;
  return `${domain}:${bus}:${device}.${fn}`.toLowerCase();
}
