/** Changing the number of VFs, with the token that their users will show. */
import { VfioError } from '../errors';
import { assertVfsUnused } from '../pci/binding/assert-free';
import {
  changeVfs as changeCount,
  planVfCount,
  type SriovPlan,
  type VfChangeOptions,
} from '../pci/binding/vf-transaction';
import { readPciDevice } from '../pci/sysfs';
import { isVfioDriver } from '../pci/vfio-driver';
import { openDevice } from './open';
import { vfTokenBytes } from './vf-token';

export interface SriovOptions extends VfChangeOptions {
  /** For a PF that is bound to vfio-pci: what openers of its VFs have to show. It lasts until the PF is unbound. */
  readonly vfToken?: string;
}

/**
 * What would be written. Nothing is changed.
 * @throws ERR_VFIO_NO_SRIOV, ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_INVALID_UUID, ERR_VFIO_NOT_BOUND
 * (a token for a PF that has no vfio driver), EBUSY (a VF is in use)
 */
export function planVfs(address: string, count: number, options: SriovOptions = {}): SriovPlan {
  const pf = readPciDevice(address);
  const { bdf, driver } = pf;
  const { vfToken, force = false } = options;
  const plan = planVfCount(pf, count, options);
  if (vfToken === undefined) return plan;
  vfTokenBytes(vfToken);
  if (!isVfioDriver(driver)) {
    throw new VfioError('ERR_VFIO_NOT_BOUND', `${bdf} is bound to ${driver ?? 'no driver'}`, {
      device: bdf,
      hint: `only a PF under vfio-pci has a VF token; vfio bind ${bdf}, or leave the token out`,
    });
  }
  // To set it, the PF is opened, which resets it under its VFs.
  if (!force) assertVfsUnused(pf);
  return plan;
}

/**
 * Set the token if one is given, then the number of VFs; if that fails, the old ones are
 * back, under their drivers. Resolves to their addresses.
 * @throws as `planVfs`, `withStateLock` and `openDevice`
 */
export async function changeVfs(
  address: string,
  count: number,
  options: SriovOptions = {},
): Promise<string[]> {
  planVfs(address, count, options);
  const { vfToken } = options;
  return changeCount(address, count, options, async () => {
    if (vfToken === undefined) return;
    planVfs(address, count, options);
    // The kernel takes a token from whoever opens the PF, and keeps it.
    await (await openDevice(address, { vfToken })).close();
  });
}
