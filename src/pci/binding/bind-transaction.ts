/** Binding devices to a driver: saved first, all or none, given back by any later process. */
import { VfioError } from '../../errors';
import { hints } from '../../hints';
import { iommuGroupMembers } from '../iommu-group';
import { isBridge, isBridgeClass } from '../readiness';
import { type PciDevice, readPciDevice } from '../sysfs';
import { vfAddresses, vfCount } from '../virtual-functions';
import { assertUnused } from './assert-free';
import {
  applyDriver,
  assertBindable,
  type Change,
  type DriverState,
  driverWrites,
  readDriverState,
} from './bind';
import { identityOf, isIdentity } from './records';
import { rolledBack } from './roll-back';
import { forgetBinding, loadBinding, type SavedBinding, saveBinding } from './saved-bindings';
import { bringBackRecorded, type VfStates, vfStates } from './saved-vfs';
import { withStateLock } from './state-lock';
import { installedRule, installRule, removeRule, ruleFor, type UdevRule } from './udev-rule';

export interface BindOptions {
  readonly driver?: string;
  /** With all devices of their groups that do DMA. */
  readonly group?: boolean;
  /** Also devices that the system, or a process, uses. */
  readonly force?: boolean;
  /** Also at each boot, by a udev rule. */
  readonly persist?: boolean;
  /** Aborted, all go back, and it throws the reason. */
  readonly signal?: AbortSignal;
}

export interface Binding {
  readonly bdf: string;
  readonly driver: string;
  /** The driver it had before, if any. */
  readonly previousDriver: string | undefined;
  /**
   * Give the device back: driver, driver_override and VFs as they were. After it succeeded, the next
   * call does nothing. `force`: also while it is open: whoever has it is asked to let go.
   * @throws EBUSY (in use), ERR_VFIO_BIND_FAILED, EACCES (not root)
   */
  restore(options?: { readonly force?: boolean }): Promise<void>;
}

/**
 * Bind a device to a driver. On failure the device has its old driver again; should this process end
 * without `restore`, `vfio restore` gives it back. `force`: also if the system, or a process, uses it.
 * @throws EBUSY (in use), ERR_VFIO_BIND_FAILED, ERR_VFIO_UNAVAILABLE (no such driver),
 * ERR_VFIO_NO_IOMMU_GROUP, ERR_VFIO_INVALID_ARGUMENT (a bridge), EACCES (not root)
 */
export async function bindDriver(
  address: string,
  driver = 'vfio-pci',
  { force = false }: { readonly force?: boolean } = {},
): Promise<Binding> {
  const [record] = (await bindAll([address], { driver, force })) as [BindRecord];
  const { bdf, now } = record;
  let restored = false;
  return {
    bdf,
    driver,
    previousDriver: now.driver ?? undefined,
    restore: (options) =>
      withStateLock(async () => {
        if (!restored) await restoreBinding(record, options?.force === true);
        restored = true;
      }),
  };
}

/**
 * What binding would write. Nothing is changed.
 * @throws EBUSY (in use), ERR_VFIO_UNAVAILABLE, ERR_VFIO_NO_IOMMU_GROUP, ERR_VFIO_NO_DEVICE
 */
export function planBind(addresses: readonly string[], options: BindOptions = {}): Change[] {
  const { driver = 'vfio-pci', force = false } = options;
  const devices = targets(addresses, options);
  for (const device of devices) {
    assertBindable(device, driver);
    if (!force && device.driver !== driver) assertUnused(device);
  }
  return devices.map((device) => change(device, { driver, override: driver }));
}

/**
 * Bind devices; if one, or a rule, fails, all have their old drivers, and rules, again.
 * @throws as `planBind` and `withStateLock`, and ERR_VFIO_BIND_FAILED, EACCES (not root)
 */
export async function bindDevices(
  addresses: readonly string[],
  options: BindOptions = {},
): Promise<Change[]> {
  return (await bindAll(addresses, options)).map(({ change }) => change);
}

async function bindAll(addresses: readonly string[], options: BindOptions): Promise<BindRecord[]> {
  const { driver = 'vfio-pci', persist = false, signal } = options;
  // What is refused need not wait for the lock, nor be root.
  planBind(addresses, options);
  return withStateLock(async () => {
    const records: BindRecord[] = [];
    for (const change of planBind(addresses, options)) records.push(await recordOf(change));
    const begun: BindRecord[] = [];
    try {
      for (const record of records) {
        signal?.throwIfAborted();
        saveBinding(savedState(record, driver, false));
        begun.push(record);
        await applyDriver(readPciDevice(record.bdf), { driver, override: driver });
        if (persist) installRule(ruleFor(record.bdf, driver));
      }
      signal?.throwIfAborted();
    } catch (error) {
      throw await rollBack([...begun].reverse(), error);
    }
    for (const record of begun) saveBinding(savedState(record, driver, true));
    return records;
  });
}

interface BindRecord {
  readonly bdf: string;
  readonly change: Change;
  readonly device: PciDevice;
  readonly now: DriverState;
  /** VFs that go. */
  readonly vfs: VfStates;
  /** The record of an earlier bind that still holds. */
  readonly known: SavedBinding | undefined;
  readonly rule: UdevRule | undefined;
}

async function recordOf(change: Change): Promise<BindRecord> {
  const { bdf } = change;
  const device = readPciDevice(bdf);
  const now = await readDriverState(device);
  const saved = loadBinding(bdf);
  // Bound to something else by other means since, or another card: what is there now is what comes back.
  const known =
    saved && isIdentity(saved, device) && (saved.driver === now.driver || !saved.complete)
      ? saved
      : undefined;
  const vfs = change.vfs.length > 0 ? await vfStates(device) : [];
  return { bdf, change, device, now, vfs, known, rule: installedRule(bdf) };
}

/** What an earlier bind has found is what comes back. */
function savedState(
  { bdf, device, now, vfs, known }: BindRecord,
  driver: string,
  complete: boolean,
) {
  const { before, vfs: gone } = known ?? { before: now, vfs };
  const identity = identityOf(device);
  return { bdf, ...identity, before, driver, vfs: gone, complete } satisfies SavedBinding;
}

/** Resolves to what to throw. */
async function rollBack(begun: readonly BindRecord[], cause: unknown): Promise<unknown> {
  const failures: string[] = [];
  for (const record of begun) {
    try {
      await giveBack(record);
    } catch (error) {
      // Its record stays, for `restore` to try again.
      failures.push((error as Error).message);
    }
  }
  return rolledBack(cause, failures);
}

async function giveBack({ bdf, device, now, vfs, known, rule }: BindRecord): Promise<void> {
  const current = readPciDevice(bdf);
  const { driver, override } = await readDriverState(current);
  // Where nothing was changed, nothing is written: it could be refused, too.
  if (driver !== now.driver || override !== now.override) await applyDriver(current, now);
  if (rule) installRule(rule);
  else removeRule(bdf);
  if (known) saveBinding(known);
  else forgetBinding(bdf);
  if (vfs.length > 0 && vfCount(current) === 0)
    await bringBackRecorded({ pf: bdf, ...identityOf(device), vfs });
}

/** Under the lock, by the process that bound it. */
async function restoreBinding(record: BindRecord, force: boolean): Promise<void> {
  const { bdf, device, now } = record;
  if (!isThere(device)) return forgetBinding(bdf);
  const current = readPciDevice(bdf);
  if (!force && current.driver !== (now.driver ?? undefined)) assertUnused(current);
  await giveBack({ ...record, rule: installedRule(bdf) });
}

/** Not pulled out, nor replaced by another card. */
function isThere(device: PciDevice): boolean {
  try {
    return isIdentity(device, readPciDevice(device.bdf));
  } catch {
    return false;
  }
}

function targets(addresses: readonly string[], { group }: BindOptions): PciDevice[] {
  const devices = addresses.map(readPciDevice);
  const bridge = devices.find(isBridge);
  if (bridge) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `${bridge.bdf} is a bridge`, {
      device: bridge.bdf,
      hint: hints.bridge(),
    });
  }
  const members = group
    ? devices.flatMap(({ iommuGroup }) =>
        iommuGroup === undefined ? [] : iommuGroupMembers(iommuGroup),
      )
    : [];
  const own = devices.map(({ bdf }) => bdf);
  const others = members.flatMap(({ bdf, bus, blocks }) => {
    if (bus !== 'pci') return [];
    const member = readPciDevice(bdf);
    // To the kernel, a host or ISA bridge is a device as any other; without a driver it is in nobody's way.
    return isBridge(member) || (isBridgeClass(member) && !blocks) ? [] : [bdf];
  });
  return [...new Set([...own, ...others])].map(readPciDevice);
}

function change(device: PciDevice, wanted: DriverState): Change {
  const { bdf, driver: from = null } = device;
  const vfs = from !== null && from !== wanted.driver ? vfAddresses(device) : [];
  return { bdf, from, to: wanted.driver, writes: driverWrites(device, wanted), vfs };
}
