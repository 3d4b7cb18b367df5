/** Changing the number of VFs as a transaction, with the token that their users will show. */
import { VfioError } from '../errors';
import { assertVfsUnused } from '../pci/binding/assert-free';
import type { SysfsWrite } from '../pci/binding/bind';
import { rolledBack } from '../pci/binding/roll-back';
import { bringBack, forgetVfs, type SavedVfs, saveVfs, vfsOf } from '../pci/binding/saved-vfs';
import { withStateLock } from '../pci/binding/state-lock';
import { Sriov } from '../pci/sriov';
import { readPciDevice } from '../pci/sysfs';
import { isVfioDriver } from '../pci/vfio-driver';
import { openDevice } from './open';
import { vfTokenBytes } from './vf-token';

export interface SriovOptions {
  /** For a PF that is bound to vfio-pci: what openers of its VFs have to show. It lasts until the PF is unbound. */
  readonly vfToken?: string;
  /** Also if VFs that are there now are in use, and will go. */
  readonly force?: boolean;
  /** Aborted, the VFs come back that there were, and it throws the reason. */
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
 * @throws ERR_VFIO_NO_SRIOV, ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_INVALID_UUID, ERR_VFIO_NOT_BOUND
 * (a token for a PF that has no vfio driver), EBUSY (a VF is in use)
 */
export function planVfs(address: string, count: number, options: SriovOptions = {}): SriovPlan {
  const device = readPciDevice(address);
  const { bdf, path, driver } = device;
  const { vfToken, force = false } = options;
  const { totalVfs, numVfs } = new Sriov(bdf);
  if (totalVfs === 0) {
    throw new VfioError('ERR_VFIO_NO_SRIOV', `${bdf} has no SR-IOV`, { device: bdf });
  }
  if (!Number.isInteger(count) || count < 0 || count > totalVfs) {
    const message = `${bdf} has 0 to ${totalVfs} VFs, not ${count}`;
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', message, { device: bdf });
  }
  if (vfToken !== undefined) {
    vfTokenBytes(vfToken);
    if (!isVfioDriver(driver)) {
      throw new VfioError('ERR_VFIO_NOT_BOUND', `${bdf} is bound to ${driver ?? 'no driver'}`, {
        device: bdf,
        hint: `only a PF under vfio-pci has a VF token; vfio bind ${bdf}, or leave --vf-token out`,
      });
    }
  }
  if (numVfs !== count && !force) assertVfsUnused(device);
  const counts =
    numVfs === count ? [] : [...(numVfs === 0 ? [] : [0]), ...(count === 0 ? [] : [count])];
  const writes = counts.map((text) => ({ path: `${path}/sriov_numvfs`, text: String(text) }));
  return { bdf, from: numVfs, to: count, writes };
}

/**
 * Set the token if one is given, then the number of VFs; if that fails, those that there were are
 * back, under their drivers. Resolves to their addresses.
 * @throws as `planVfs`, `withStateLock` and `openDevice`
 */
export function changeVfs(
  address: string,
  count: number,
  options: SriovOptions = {},
): Promise<string[]> {
  return withStateLock(async () => {
    const { bdf } = planVfs(address, count, options);
    if (options.vfToken !== undefined) {
      // The kernel takes a token from who opens the PF, and keeps it.
      await (await openDevice(bdf, { vfToken: options.vfToken })).close();
    }
    const before = vfsOf(bdf);
    if (before.vfs.length > 0) saveVfs(before);
    try {
      await replaceVfs(bdf, count, options.signal);
    } catch (cause) {
      throw await undo(before, cause);
    }
    forgetVfs(bdf);
    return new Sriov(bdf).vfs();
  });
}

/** By way of 0, which is where it can be interrupted. */
async function replaceVfs(bdf: string, count: number, signal?: AbortSignal): Promise<void> {
  const sriov = new Sriov(bdf);
  signal?.throwIfAborted();
  if (sriov.numVfs !== count) await sriov.setNumVfs(0);
  signal?.throwIfAborted();
  await sriov.setNumVfs(count);
  if (sriov.numVfs === count) return;
  throw new VfioError('ERR_VFIO_UNSUPPORTED', `${bdf} has ${sriov.numVfs} VFs, not ${count}`, {
    device: bdf,
    hint: `dmesg tells what the driver of ${bdf} had against it`,
  });
}

/** Resolves to what to throw; where not all came back, the record stays for the next to try again. */
async function undo(before: SavedVfs, cause: unknown): Promise<unknown> {
  const failures = await bringBack(before);
  if (failures.length === 0) forgetVfs(before.pf);
  return rolledBack(cause, failures, 'vfio restore tries again; dmesg tells what was against it');
}
