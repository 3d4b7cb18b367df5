/** Records of the VFs that a PF had, while their number changes: a kill on the way through 0 loses none. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { VfioError } from '../../errors';
import { parseBdf } from '../address';
import { STATE } from '../paths';
import { Sriov } from '../sriov';
import { PCI_DEVICES, readAttribute, readPciDevice } from '../sysfs';
import { applyDriver, type DriverState, isDriverState, readDriverState } from './bind';
import { recordedAddresses, writeRecord } from './records';
import { withStateLock } from './state-lock';

export interface SavedVfs {
  readonly pf: string;
  /** By index. */
  readonly vfs: readonly { readonly bdf: string; readonly before: DriverState }[];
}

const directory = join(STATE, 'vfs');
const fileOf = (pf: string) => join(directory, `${pf}.json`);

export function vfsOf(pf: string): SavedVfs {
  const state = (bdf: string) => ({ bdf, before: readDriverState(readPciDevice(bdf)) });
  return { pf, vfs: new Sriov(pf).vfs().map(state) };
}

export function saveVfs(saved: SavedVfs): void {
  writeRecord(fileOf(saved.pf), saved);
}

export function forgetVfs(pf: string): void {
  rmSync(fileOf(pf), { force: true });
}

/** PFs whose change was not completed. */
const abandonedPfs = () => recordedAddresses(directory);

/** @throws ERR_VFIO_MALFORMED */
function loadVfs(pf: string): SavedVfs {
  try {
    const { vfs } = JSON.parse(readAttribute(fileOf(pf)) ?? '') as SavedVfs;
    if (vfs.every(({ bdf, before }) => parseBdf(bdf) === bdf && isDriverState(before)))
      return { pf, vfs };
  } catch {
    // As one that says something else.
  }
  throw new VfioError('ERR_VFIO_MALFORMED', `${fileOf(pf)} is no record of VFs`, {
    path: fileOf(pf),
    hint: 'remove it',
  });
}

/** As many VFs as there were, under the drivers they had; the failures of each. */
export async function bringBack({ pf, vfs }: SavedVfs): Promise<string[]> {
  try {
    await new Sriov(pf).setNumVfs(vfs.length);
  } catch (error) {
    return [(error as Error).message];
  }
  const failures: string[] = [];
  for (const { bdf, before } of vfs) {
    try {
      await applyDriver(readPciDevice(bdf), before);
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  return failures;
}

export interface BroughtBack {
  readonly pf: string;
  readonly count: number;
  readonly error: Error | null;
}

/** Bring back the VFs of changes whose process was killed midway. */
export async function undoAbandonedVfs(): Promise<BroughtBack[]> {
  if (abandonedPfs().length === 0) return [];
  return withStateLock(async () => {
    const done: BroughtBack[] = [];
    // Those of a process that was at work are complete by now.
    for (const pf of abandonedPfs()) done.push(await undoOne(pf));
    return done;
  });
}

async function undoOne(pf: string): Promise<BroughtBack> {
  try {
    const saved = loadVfs(pf);
    const count = saved.vfs.length;
    const present = existsSync(join(PCI_DEVICES, pf));
    const failures = present ? await bringBack(saved) : [];
    if (failures.length > 0) {
      const message = `${pf}: its ${count} VFs are not all back: ${failures.join('; ')}`;
      const hint = 'dmesg tells what was against it; vfio sriov sets the number';
      return { pf, count, error: new VfioError('EIO', message, { device: pf, hint }) };
    }
    forgetVfs(pf);
    return { pf, count, error: null };
  } catch (error) {
    return { pf, count: 0, error: error as Error };
  }
}
