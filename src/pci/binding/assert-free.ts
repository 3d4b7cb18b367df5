/** The one guard in front of everything that takes a device away: from the system, or from a process. */
import { VfioError } from '../../errors';
import { hints } from '../../hints';
import { deviceHolders } from '../device-nodes';
import { usesOf } from '../in-use';
import { type Process, processes } from '../processes';
import { type PciDevice, readPciDevice } from '../sysfs';
import { vfAddresses } from '../virtual-functions';

/** @throws EBUSY (the system uses it or a VF of it, or a process has one open) */
export function assertUnused(device: PciDevice): void {
  const seen = processes();
  const uses = usesOf(device, seen).map(({ text }) => text);
  if (uses.length > 0) {
    throw new VfioError('EBUSY', `${device.bdf} is in use: ${uses.join('; ')}`, {
      device: device.bdf,
      hint: hints.inUse(),
    });
  }
  assertVfsUnused(device, seen);
  assertNotOpen(device.bdf, device, seen);
}

/** They go with the driver of their PF, and when their number changes. @throws EBUSY */
export function assertVfsUnused(pf: PciDevice, seen: readonly Process[] = processes()): void {
  for (const bdf of vfAddresses(pf)) {
    const vf = readPciDevice(bdf);
    const open = deviceHolders(vf, seen).map((who) => `open in ${who}`);
    const uses = [...usesOf(vf, seen).map(({ text }) => text), ...open];
    if (uses.length === 0) continue;
    throw new VfioError('EBUSY', `the VF ${bdf} is in use: ${uses.join('; ')}`, {
      device: bdf,
      hint: hints.vfsInUse(pf.bdf),
    });
  }
}

/** An unbind would wait until whoever has it open lets go. @throws EBUSY */
export function assertNotOpen(
  name: string,
  device: Pick<PciDevice, 'path' | 'iommuGroup' | 'driver'>,
  seen: readonly Process[] = processes(),
): void {
  const holders = deviceHolders(device, seen);
  if (holders.length === 0 || device.driver === undefined) return;
  throw new VfioError('EBUSY', `${name} is open in ${holders.join(', ')}`, {
    device: name,
    hint: hints.heldOpen(),
  });
}
