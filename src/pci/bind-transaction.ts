/** Binding several devices at once: saved first, all or none, given back by any later process. */
import { VfioError } from '../errors';
import { parseBdf } from './address';
import {
  applyDriver,
  assertBindable,
  type DriverState,
  driverWrites,
  readDriverState,
  type SysfsWrite,
} from './bind';
import { deviceHolders } from './device-nodes';
import { usesOf } from './in-use';
import { iommuGroupMembers } from './iommu-group';
import { SYS } from './paths';
import { isBridge } from './readiness';
import {
  forgetBinding,
  isAbandoned,
  loadBinding,
  type SavedBinding,
  saveBinding,
  savedBindings,
  stateBefore,
} from './saved-bindings';
import { type PciDevice, readPciDevice } from './sysfs';

export interface BindOptions {
  readonly driver?: string;
  /** With all devices of their groups that do DMA. */
  readonly group?: boolean;
  /** Also devices that the system uses. */
  readonly force?: boolean;
}

export interface Change {
  readonly bdf: string;
  readonly from: string | null;
  readonly to: string | null;
  readonly writes: readonly SysfsWrite[];
}

/**
 * What binding would write. Nothing is changed.
 * @throws EBUSY (in use), ERR_VFIO_UNAVAILABLE, ERR_VFIO_NO_IOMMU_GROUP, ERR_VFIO_NO_DEVICE
 */
export async function planBind(
  addresses: readonly string[],
  options: BindOptions = {},
): Promise<Change[]> {
  const { driver = 'vfio-pci', force = false } = options;
  const devices = targets(addresses, options);
  for (const device of devices) {
    await assertBindable(device, driver);
    if (!force && device.driver !== driver) assertUnused(device);
  }
  return devices.map((device) => change(device, { driver, override: driver }));
}

/**
 * Bind devices; if one fails, all have their old drivers again. What a killed one left is undone first.
 * @throws as `planBind`, and ERR_VFIO_BIND_FAILED, EACCES (not root)
 */
export async function bindDevices(
  addresses: readonly string[],
  options: BindOptions = {},
): Promise<Change[]> {
  const { driver = 'vfio-pci' } = options;
  await undoAbandoned();
  const changes = await planBind(addresses, options);
  const records = changes.map(({ bdf }) => {
    const { driver: old = null, override } = readDriverState(readPciDevice(bdf));
    const before = loadBinding(bdf)?.before ?? { driver: old, override };
    return { known: loadBinding(bdf), now: { driver: old ?? undefined, override }, before, bdf };
  });
  const begun: typeof records = [];
  try {
    for (const record of records) {
      saveBinding({ bdf: record.bdf, before: record.before, driver, changing: process.pid });
      begun.push(record);
      await applyDriver(readPciDevice(record.bdf), { driver, override: driver });
    }
  } catch (error) {
    for (const record of begun.reverse()) await rollBack(record);
    throw error;
  }
  for (const { bdf, before } of begun) saveBinding({ bdf, before, driver, changing: null });
  return changes;
}

interface BindRecord {
  readonly bdf: string;
  readonly now: DriverState;
  /** The record of an earlier bind. */
  readonly known: SavedBinding | undefined;
}

/** Where the old driver does not take it back, the record stays, for `restore` to try again. */
async function rollBack({ bdf, now, known }: BindRecord): Promise<void> {
  try {
    await applyDriver(readPciDevice(bdf), now);
  } catch {
    return;
  }
  if (known) saveBinding(known);
  else forgetBinding(bdf);
}

/** What restoring would write: without addresses, of all devices that are recorded. */
export function planRestore(addresses: readonly string[], force = false): Change[] {
  const bdfs =
    addresses.length > 0 ? addresses.map(parseBdf) : savedBindings().map(({ bdf }) => bdf);
  return bdfs.map((bdf) => {
    const device = readPciDevice(bdf);
    if (!force) assertNotOpen(device);
    const saved = loadBinding(bdf);
    if (saved) return change(device, stateBefore(saved));
    // Bound by other means, or before a reboot: the kernel knows best.
    const free = { driver: undefined, override: '' };
    const probe = { path: `${SYS}/bus/pci/drivers_probe`, text: bdf };
    return { ...change(device, free), writes: [...driverWrites(device, free), probe] };
  });
}

/** Give devices back. @throws ERR_VFIO_BIND_FAILED, EACCES, EBUSY (open in a process) */
export async function restoreDevices(
  addresses: readonly string[],
  force = false,
): Promise<Change[]> {
  const changes = planRestore(addresses, force);
  for (const { bdf } of changes) {
    const saved = loadBinding(bdf);
    const state = saved ? stateBefore(saved) : { driver: undefined, override: '' };
    await applyDriver(readPciDevice(bdf), state);
    forgetBinding(bdf);
  }
  return changes;
}

/** Changes whose process was killed midway. */
export async function undoAbandoned(): Promise<void> {
  for (const saved of savedBindings().filter(isAbandoned)) {
    await applyDriver(readPciDevice(saved.bdf), stateBefore(saved));
    forgetBinding(saved.bdf);
  }
}

function targets(addresses: readonly string[], { group }: BindOptions): PciDevice[] {
  const devices = addresses.map(readPciDevice);
  const bridge = devices.find(isBridge);
  if (bridge) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `${bridge.bdf} is a bridge`, {
      device: bridge.bdf,
      hint: 'vfio-pci takes no bridges, and one in a group does not block it',
    });
  }
  const members = group
    ? devices.flatMap(({ iommuGroup }) =>
        iommuGroup === undefined ? [] : iommuGroupMembers(iommuGroup).map(({ bdf }) => bdf),
      )
    : [];
  const all = new Set([...devices.map(({ bdf }) => bdf), ...members]);
  return [...all].map(readPciDevice).filter((device) => !isBridge(device));
}

function change(
  device: PciDevice,
  wanted: { driver: string | undefined; override: string },
): Change {
  return {
    bdf: device.bdf,
    from: device.driver ?? null,
    to: wanted.driver ?? null,
    writes: driverWrites(device, wanted),
  };
}

function assertUnused(device: PciDevice): void {
  const uses = usesOf(device).map(({ text }) => text);
  if (uses.length > 0) {
    throw new VfioError('EBUSY', `${device.bdf} is in use: ${uses.join('; ')}`, {
      device: device.bdf,
      hint: 'unmount it, or move the route or session, first; --force binds it all the same',
    });
  }
  assertNotOpen(device);
}

/** An unbind would wait until whoever has it open lets go. */
function assertNotOpen(device: PciDevice): void {
  const holders = deviceHolders(device);
  if (holders.length === 0 || device.driver === undefined) return;
  throw new VfioError('EBUSY', `${device.bdf} is open in ${holders.join(', ')}`, {
    device: device.bdf,
    hint: 'end that process first; --force asks it to let go, and waits until it does',
  });
}
