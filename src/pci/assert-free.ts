/** Refusals to take a device from whom it serves. */
import { VfioError } from '../errors';
import { deviceHolders } from './device-nodes';
import { usesOf } from './in-use';
import type { PciDevice } from './sysfs';

/** @throws EBUSY (the system uses it, or a process has it open) */
export function assertUnused(device: PciDevice): void {
  const uses = usesOf(device).map(({ text }) => text);
  if (uses.length > 0) {
    throw new VfioError('EBUSY', `${device.bdf} is in use: ${uses.join('; ')}`, {
      device: device.bdf,
      hint: 'unmount it, or move the route or session, first; --force binds it all the same',
    });
  }
  assertNotOpen(device);
}

/** An unbind would wait until whoever has it open lets go. @throws EBUSY */
export function assertNotOpen(device: PciDevice): void {
  const holders = deviceHolders(device);
  if (holders.length === 0 || device.driver === undefined) return;
  throw new VfioError('EBUSY', `${device.bdf} is open in ${holders.join(', ')}`, {
    device: device.bdf,
    hint: 'end that process first; --force asks it to let go, and waits until it does',
  });
}
