/** Refusals to take a device from whom it serves. */
import { VfioError } from '../../errors';
import { hints } from '../../hints';
import { deviceHolders } from '../device-nodes';
import { usesOf } from '../in-use';
import { Sriov } from '../sriov';
import { type PciDevice, readPciDevice } from '../sysfs';

/** @throws EBUSY (the system uses it or a VF of it, or a process has one open) */
export function assertUnused(device: PciDevice): void {
  const uses = usesOf(device).map(({ text }) => text);
  if (uses.length > 0) {
    throw new VfioError('EBUSY', `${device.bdf} is in use: ${uses.join('; ')}`, {
      device: device.bdf,
      hint: hints.inUse(),
    });
  }
  assertVfsUnused(device);
  assertNotOpen(device);
}

/** They go with the driver of their PF, and when their number changes. @throws EBUSY */
export function assertVfsUnused(pf: PciDevice): void {
  for (const bdf of new Sriov(pf.bdf).vfs()) {
    const vf = readPciDevice(bdf);
    const open = deviceHolders(vf).map((who) => `open in ${who}`);
    const uses = [...usesOf(vf).map(({ text }) => text), ...open];
    if (uses.length === 0) continue;
    throw new VfioError('EBUSY', `the VF ${bdf} is in use: ${uses.join('; ')}`, {
      device: bdf,
      hint: `the VFs of ${pf.bdf} would go; --force does it all the same`,
    });
  }
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
