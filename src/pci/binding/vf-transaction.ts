/** Changing the number of VFs as a transaction. */
import { VfioError } from '../../errors';
import { hints } from '../../hints';
import { type PciDevice, readPciDevice } from '../sysfs';
import type { SysfsWrite } from '../sysfs-write';
import {
  confirmedCount,
  countWrites,
  setVfCount,
  totalVfs,
  vfAddresses,
  vfCount,
} from '../virtual-functions';
import { assertVfsUnused } from './assert-free';
import { rolledBack } from './roll-back';
import { bringBack, forgetVfs, type SavedVfs, saveVfs, vfsOf } from './saved-vfs';
import { withStateLock } from './state-lock';

export interface VfChangeOptions {
  /** Also if VFs that are there now are in use, and will go. */
  readonly force?: boolean;
  /** Aborted, the old VFs come back, and it throws the reason. */
  readonly signal?: AbortSignal;
}

export interface SriovPlan {
  readonly bdf: string;
  readonly from: number;
  readonly to: number;
  readonly writes: readonly SysfsWrite[];
}

/**
 * What would be written. Nothing is changed.
 * @throws ERR_VFIO_NO_SRIOV, ERR_VFIO_INVALID_ARGUMENT, EBUSY (a VF is in use)
 */
export function planVfCount(
  pf: PciDevice,
  count: number,
  { force = false }: VfChangeOptions = {},
): SriovPlan {
  const { bdf, path } = pf;
  const [total, from] = [totalVfs(pf), vfCount(pf)];
  if (total === 0) {
    throw new VfioError('ERR_VFIO_NO_SRIOV', `${bdf} has no SR-IOV`, { device: bdf });
  }
  if (!Number.isInteger(count) || count < 0 || count > total) {
    const message = `${bdf} has 0 to ${total} VFs, not ${String(count)}`;
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', message, { device: bdf });
  }
  if (from !== count && !force) assertVfsUnused(pf);
  const writes = countWrites(from, count).map((step) => ({
    path: `${path}/sriov_numvfs`,
    text: String(step),
  }));
  return { bdf, from, to: count, writes };
}

/**
 * Have `count` VFs; if that fails, the old ones are back, under their drivers. Resolves to their
 * addresses.
 *
 * @param prepare runs first, under the same lock
 * @throws as `planVfCount` and `withStateLock`
 */
export async function changeVfs(
  address: string,
  count: number,
  options: VfChangeOptions = {},
  prepare: () => Promise<void> = async () => {},
): Promise<string[]> {
  // A refusal need not wait for the lock, nor be root.
  planVfCount(readPciDevice(address), count, options);
  return withStateLock(async () => {
    const pf = readPciDevice(address);
    planVfCount(pf, count, options);
    await prepare();
    if (vfCount(pf) === count) return vfAddresses(pf);
    const before = await vfsOf(pf);
    if (before.vfs.length > 0) saveVfs(before);
    try {
      await replaceVfs(pf, count, options.signal);
    } catch (cause) {
      throw await undo(before, cause);
    }
    forgetVfs(pf.bdf);
    return vfAddresses(pf);
  });
}

/** Goes through 0 VFs; `signal` is honoured at that point. */
async function replaceVfs(pf: PciDevice, count: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await setVfCount(pf, 0);
  signal?.throwIfAborted();
  await setVfCount(pf, count);
  const made = await confirmedCount(pf);
  if (made === count) return;
  throw new VfioError('ERR_VFIO_UNSUPPORTED', `${pf.bdf} has ${made} VFs, not ${count}`, {
    device: pf.bdf,
    hint: hints.kernelRefused(),
  });
}

/** Resolves to what to throw; where not all came back, the record stays for the next to try again. */
async function undo(before: SavedVfs, cause: unknown): Promise<unknown> {
  const failures = await bringBack(before);
  if (failures.length === 0) forgetVfs(before.pf);
  return rolledBack(cause, failures);
}
