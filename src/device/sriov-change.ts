/** Changing the number of VFs as a transaction, with the token that their users will show. */
import { VfioError } from '../errors';
import { deviceHolders } from '../pci/device-nodes';
import { usesOf } from '../pci/in-use';
import { Sriov } from '../pci/sriov';
import { readPciDevice } from '../pci/sysfs';
import { openDevice } from './open';
import { vfTokenBytes } from './vf-token';

export interface SriovOptions {
  /** For a PF that is bound to vfio-pci: what openers of its VFs have to show. It lasts until the PF is unbound. */
  readonly vfToken?: string;
  /** Also if VFs that are there now are in use, and will go. */
  readonly force?: boolean;
}

export interface SriovPlan {
  readonly bdf: string;
  readonly from: number;
  readonly to: number;
  readonly writes: readonly { readonly path: string; readonly text: string }[];
}

/**
 * What would be written. Nothing is changed.
 * @throws ERR_VFIO_NO_SRIOV, ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_INVALID_UUID, ERR_VFIO_NOT_BOUND
 * (a token for a PF that has no vfio driver), EBUSY (a VF is in use)
 */
export function planVfs(address: string, count: number, options: SriovOptions = {}): SriovPlan {
  const { bdf, path, driver } = readPciDevice(address);
  const { vfToken, force = false } = options;
  const sriov = new Sriov(bdf);
  const { totalVfs, numVfs } = sriov;
  if (totalVfs === 0) {
    throw new VfioError('ERR_VFIO_NO_SRIOV', `${bdf} has no SR-IOV`, { device: bdf });
  }
  if (!Number.isInteger(count) || count < 0 || count > totalVfs) {
    const message = `${bdf} has 0 to ${totalVfs} VFs, not ${count}`;
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', message, { device: bdf });
  }
  if (vfToken !== undefined) {
    vfTokenBytes(vfToken);
    if (!driver?.includes('vfio')) {
      throw new VfioError('ERR_VFIO_NOT_BOUND', `${bdf} is bound to ${driver ?? 'no driver'}`, {
        device: bdf,
        hint: `only a PF under vfio-pci has a VF token; vfio bind ${bdf}, or leave --vf-token out`,
      });
    }
  }
  if (numVfs !== count && !force) for (const vf of sriov.vfs()) assertUnused(vf);
  const counts =
    numVfs === count ? [] : [...(numVfs === 0 ? [] : [0]), ...(count === 0 ? [] : [count])];
  const writes = counts.map((text) => ({ path: `${path}/sriov_numvfs`, text: String(text) }));
  return { bdf, from: numVfs, to: count, writes };
}

/**
 * Set the token if one is given, then the number of VFs; if that fails there are as many as before.
 * Resolves to their addresses.
 * @throws as `planVfs` and `openDevice`
 */
export async function changeVfs(
  address: string,
  count: number,
  options: SriovOptions = {},
): Promise<string[]> {
  const { bdf, from } = planVfs(address, count, options);
  if (options.vfToken !== undefined) {
    // The kernel takes a token from who opens the PF, and keeps it.
    await (await openDevice(bdf, { vfToken: options.vfToken })).close();
  }
  const sriov = new Sriov(bdf);
  try {
    return await sriov.setNumVfs(count);
  } catch (error) {
    if (sriov.numVfs !== from) await sriov.setNumVfs(from);
    throw error;
  }
}

function assertUnused(bdf: string): void {
  const vf = readPciDevice(bdf);
  const uses = [
    ...usesOf(vf).map(({ text }) => text),
    ...deviceHolders(vf).map((who) => `open in ${who}`),
  ];
  if (uses.length === 0) return;
  throw new VfioError('EBUSY', `the VF ${bdf} is in use: ${uses.join('; ')}`, {
    device: bdf,
    hint: 'all VFs go when their number changes; --force does it all the same',
  });
}
