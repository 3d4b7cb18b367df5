/** Binding several devices at once: saved first, all or none, given back by any later process. */
import { VfioError } from '../../errors';
import { hints } from '../../hints';
import { iommuGroupMembers } from '../iommu-group';
import { isBridge } from '../readiness';
import { type PciDevice, readPciDevice } from '../sysfs';
import { assertUnused } from './assert-free';
import {
  applyDriver,
  assertBindable,
  type Change,
  type DriverState,
  driverWrites,
  readDriverState,
} from './bind';
import { rolledBack } from './roll-back';
import { forgetBinding, loadBinding, type SavedBinding, saveBinding } from './saved-bindings';
import { withStateLock } from './state-lock';
import { installedRule, installRule, removeRule, ruleFor, type UdevRule } from './udev-rule';

export interface BindOptions {
  readonly driver?: string;
  /** With all devices of their groups that do DMA. */
  readonly group?: boolean;
  /** Also devices that the system uses. */
  readonly force?: boolean;
  /** Also at each boot, by a udev rule. */
  readonly persist?: boolean;
  /** Aborted, all go back, and it throws the reason. */
  readonly signal?: AbortSignal;
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
  const { driver = 'vfio-pci', persist = false, signal } = options;
  // What is refused need not wait for the lock, nor be root.
  planBind(addresses, options);
  return withStateLock(async () => {
    const changes = planBind(addresses, options);
    const records = changes.map(({ bdf }) => stateOf(bdf));
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
      throw await rollBack(begun.reverse(), error);
    }
    for (const record of begun) saveBinding(savedState(record, driver, true));
    return changes;
  });
}

interface BindRecord {
  readonly bdf: string;
  readonly now: DriverState;
  /** The record of an earlier bind. */
  readonly known: SavedBinding | undefined;
  readonly rule: UdevRule | undefined;
}

function stateOf(bdf: string): BindRecord {
  const now = readDriverState(readPciDevice(bdf));
  return { bdf, now, known: loadBinding(bdf), rule: installedRule(bdf) };
}

/** What an earlier bind has found is what comes back. */
function savedState({ bdf, now, known }: BindRecord, driver: string, complete: boolean) {
  return { bdf, before: known?.before ?? now, driver, complete } satisfies SavedBinding;
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
  return rolledBack(cause, failures, 'dmesg tells what was against it; vfio restore tries again');
}

async function giveBack({ bdf, now, known, rule }: BindRecord): Promise<void> {
  await applyDriver(readPciDevice(bdf), now);
  if (rule) installRule(rule);
  else removeRule(bdf);
  if (known) saveBinding(known);
  else forgetBinding(bdf);
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
