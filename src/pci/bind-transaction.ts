/** Binding several devices at once: saved first, all or none, given back by any later process. */
import { VfioError } from '../errors';
import { parseBdf } from './address';
import {
  applyDefaultDriver,
  applyDriver,
  assertBindable,
  type DriverState,
  defaultDriverWrites,
  driverWrites,
  readDriverState,
  type SysfsWrite,
} from './bind';
import { deviceHolders } from './device-nodes';
import { usesOf } from './in-use';
import { iommuGroupMembers } from './iommu-group';
import { isBridge } from './readiness';
import {
  forgetBinding,
  isAbandoned,
  loadBinding,
  type SavedBinding,
  saveBinding,
  savedBindings,
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
  const records = changes.map(({ bdf }): BindRecord => {
    return { bdf, now: readDriverState(readPciDevice(bdf)), known: loadBinding(bdf) };
  });
  const begun: BindRecord[] = [];
  try {
    for (const record of records) {
      saveBinding({ ...recordOf(record, driver), changing: process.pid });
      begun.push(record);
      await applyDriver(readPciDevice(record.bdf), { driver, override: driver });
    }
  } catch (error) {
    for (const record of begun.reverse()) await rollBack(record);
    throw error;
  }
  for (const record of begun) saveBinding(recordOf(record, driver));
  return changes;
}

interface BindRecord {
  readonly bdf: string;
  readonly now: DriverState;
  /** The record of an earlier bind. */
  readonly known: SavedBinding | undefined;
}

/** What an earlier bind has found is what comes back. */
function recordOf({ bdf, now, known }: BindRecord, driver: string): SavedBinding {
  return { bdf, before: known?.before ?? now, driver, changing: null };
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
  return bdfs.flatMap((bdf): Change[] => {
    const device = readPciDevice(bdf);
    const saved = loadBinding(bdf);
    if (!saved && isTheKernels(device)) return [];
    if (!force) assertNotOpen(device);
    if (saved) return [change(device, saved.before)];
    // Bound by other means, or before a reboot: the kernel knows best.
    const { driver: from = null } = device;
    return [{ bdf, from, to: null, writes: defaultDriverWrites(device) }];
  });
}

/** Nobody has bound it to something else: there is nothing to restore. */
function isTheKernels(device: PciDevice): boolean {
  const { driver, override } = readDriverState(device);
  return override === '' && driver !== null && !driver.includes('vfio');
}

/** Give devices back. @throws ERR_VFIO_BIND_FAILED, EACCES, EBUSY (open in a process) */
export async function restoreDevices(
  addresses: readonly string[],
  force = false,
): Promise<Change[]> {
  const changes = planRestore(addresses, force);
  for (const { bdf } of changes) {
    const device = readPciDevice(bdf);
    const saved = loadBinding(bdf);
    await (saved ? applyDriver(device, saved.before) : applyDefaultDriver(device));
    forgetBinding(bdf);
  }
  return changes;
}

/** Changes whose process was killed midway. */
export async function undoAbandoned(): Promise<void> {
  for (const saved of savedBindings().filter(isAbandoned)) {
    await applyDriver(readPciDevice(saved.bdf), saved.before);
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

function change(device: PciDevice, wanted: DriverState): Change {
  const { bdf, driver: from = null } = device;
  return { bdf, from, to: wanted.driver, writes: driverWrites(device, wanted) };
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
