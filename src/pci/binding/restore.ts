/** Giving bound devices back, each by itself: one that fails does not keep the others. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseBdf } from '../address';
import { PCI_DEVICES, type PciDevice, readPciDevice } from '../sysfs';
import { isVfioDriver } from '../vfio-driver';
import { vfAddresses, vfCount } from '../virtual-functions';
import { assertUnused } from './assert-free';
import {
  applyDefaultDriver,
  applyDriver,
  assertDriver,
  type Change,
  defaultDriverWrites,
  driverOverride,
  driverWrites,
  readOverride,
} from './bind';
import { identityOf, isIdentity } from './records';
import { forgetBinding, loadBinding, recordPath, savedAddresses } from './saved-bindings';
import { bringBackRecorded } from './saved-vfs';
import { withStateLock } from './state-lock';
import { ruledAddresses, rulesOf } from './udev-rule';

export interface Restoration extends Change {
  /** Files that go: the udev rule; the record of a device that was pulled out, or replaced by another. */
  readonly removes: readonly string[];
  /** How many VFs are made again. */
  readonly vfsBack: number;
  /** Why it could not be given back. */
  readonly error: Error | null;
}

/** What restoring would write: without addresses, of all devices with a record or a rule. Nothing is changed. */
export function planRestore(addresses: readonly string[], force = false): Restoration[] {
  return toRestore(addresses).map((bdf) => planOne(bdf, force, driverOverride(bdf)));
}

/** Give devices back; what cannot be has its error. @throws ERR_VFIO_INVALID_BDF, and as `withStateLock` */
export async function restoreDevices(
  addresses: readonly string[],
  force = false,
): Promise<Restoration[]> {
  if (toRestore(addresses).length === 0) return [];
  return withStateLock(() => restoreAll(toRestore(addresses), force));
}

/** Undo the changes whose process was killed midway; resolves to those that cannot be. */
export async function undoAbandoned(): Promise<Restoration[]> {
  const incomplete = () => savedAddresses().filter(isIncomplete);
  if (incomplete().length === 0) return [];
  // Those of a process that is at work are complete, or undone, once the lock is free.
  const done = await withStateLock(() => restoreAll(incomplete(), false));
  return done.filter(({ error }) => error !== null);
}

async function restoreAll(addresses: readonly string[], force: boolean): Promise<Restoration[]> {
  const done: Restoration[] = [];
  for (const bdf of addresses) done.push(await restoreOne(bdf, force));
  return done;
}

function isIncomplete(bdf: string): boolean {
  try {
    return loadBinding(bdf)?.complete === false;
  } catch {
    // Damaged: restore tells.
    return false;
  }
}

/** After a reboot there are no records, and only rules tell. */
const toRestore = (addresses: readonly string[]) => [
  ...new Set(
    addresses.length > 0 ? addresses.map(parseBdf) : [...savedAddresses(), ...ruledAddresses()],
  ),
];

function planOne(bdf: string, force: boolean, override: string): Restoration {
  const removes = rulesOf(bdf);
  const nothing = {
    ...{ bdf, from: null, to: null, writes: [], vfs: [], vfsBack: 0 },
    ...{ removes, error: null },
  };
  try {
    const record = existsSync(recordPath(bdf)) ? [recordPath(bdf)] : [];
    const left = [...removes, ...record];
    // Pulled out since: there is nothing to give back.
    if (!existsSync(join(PCI_DEVICES, bdf)) && left.length > 0) {
      return { ...nothing, removes: left };
    }
    const device = readPciDevice(bdf);
    const { driver: from = null } = device;
    const saved = loadBinding(bdf);
    // Another card has come to its address, of which the record says nothing.
    if (saved && !isIdentity(saved, device)) return { ...nothing, from, to: from, removes: left };
    if (!saved && isTheKernels(device, override)) return { ...nothing, from, to: from };
    const { before } = saved ?? { before: undefined };
    const moves = before === undefined || before.driver !== from;
    if (!force && moves) assertUnused(device);
    const vfs = moves && from !== null ? vfAddresses(device) : [];
    const change = { ...nothing, from, vfs, vfsBack: saved?.vfs.length ?? 0 };
    if (before === undefined) return { ...change, writes: defaultDriverWrites(device) };
    // Else it would have no driver at all in the end.
    if (before.driver !== null) assertDriver(before.driver);
    return { ...change, to: before.driver, writes: driverWrites(device, before) };
  } catch (error) {
    return { ...nothing, error: error as Error };
  }
}

/** The rule goes even where the device cannot, and the other way round. */
async function restoreOne(bdf: string, force: boolean): Promise<Restoration> {
  const plan = planOne(bdf, force, await readOverride(bdf));
  const kept = plan.error ?? (await failureOf(() => carryOut(plan)));
  const stayed = await failureOf(async () => removeAll(plan.removes));
  return { ...plan, removes: stayed ? [] : plan.removes, error: kept ?? stayed };
}

async function carryOut({ bdf, writes }: Restoration): Promise<void> {
  if (writes.length === 0) return;
  const device = readPciDevice(bdf);
  const saved = loadBinding(bdf);
  // Without a record (bound by other means, or before a reboot), the kernel chooses.
  await (saved ? applyDriver(device, saved.before) : applyDefaultDriver(device));
  forgetBinding(bdf);
  // Those that are there by now are not replaced.
  if (saved === undefined || saved.vfs.length === 0 || vfCount(device) > 0) return;
  await bringBackRecorded({ pf: bdf, ...identityOf(saved), vfs: saved.vfs });
}

function removeAll(paths: readonly string[]): void {
  for (const path of paths) rmSync(path, { force: true });
}

async function failureOf(action: () => Promise<void>): Promise<Error | null> {
  try {
    await action();
    return null;
  } catch (error) {
    return error as Error;
  }
}

/** Nobody has bound it to something else: there is nothing to restore. */
function isTheKernels({ driver }: PciDevice, override: string): boolean {
  return override === '' && driver !== undefined && !isVfioDriver(driver);
}
