/** Records of the VFs that a PF had, while their number changes: a kill between two writes loses none. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { VfioError } from '../../errors';
import { hints } from '../../hints';
import { isBdf } from '../address';
import { STATE } from '../paths';
import { PCI_DEVICES, type PciDevice, readPciDevice } from '../sysfs';
import { setVfCount, vfAddresses } from '../virtual-functions';
import { applyDriver, type DriverState, isDriverState, readDriverState } from './bind';
import {
  type Identity,
  identityOf,
  isIdentity,
  readRecord,
  recordedAddresses,
  writeRecord,
} from './records';
import { withStateLock } from './state-lock';

/** By index. */
export type VfStates = readonly { readonly bdf: string; readonly before: DriverState }[];

export interface SavedVfs extends Identity {
  readonly pf: string;
  readonly vfs: VfStates;
}

const directory = join(STATE, 'vfs');
const fileOf = (pf: string) => join(directory, `${pf}.json`);

/** The VFs that a PF has now. */
export async function vfStates(pf: PciDevice): Promise<VfStates> {
  const states: { bdf: string; before: DriverState }[] = [];
  for (const bdf of vfAddresses(pf)) {
    states.push({ bdf, before: await readDriverState(readPciDevice(bdf)) });
  }
  return states;
}

export const areVfStates = (vfs: unknown): vfs is VfStates =>
  Array.isArray(vfs) &&
  vfs.every(({ bdf, before }) => typeof bdf === 'string' && isBdf(bdf) && isDriverState(before));

export async function vfsOf(pf: PciDevice): Promise<SavedVfs> {
  return { pf: pf.bdf, ...identityOf(pf), vfs: await vfStates(pf) };
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
export function loadVfs(pf: string): SavedVfs {
  const saved = readRecord<SavedVfs>(
    fileOf(pf),
    (record) => isIdentity(record) && areVfStates(record.vfs),
  );
  if (saved !== undefined) return { ...saved, pf };
  throw new VfioError('ERR_VFIO_MALFORMED', `${fileOf(pf)} is no record of VFs`, {
    path: fileOf(pf),
    hint: 'remove it',
  });
}

/** As many VFs as there were, under the drivers they had; the failures of each. */
export async function bringBack({ pf, vfs }: Pick<SavedVfs, 'pf' | 'vfs'>): Promise<string[]> {
  try {
    await setVfCount(readPciDevice(pf), vfs.length);
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

/** Bring VFs back by a record, which stays where that fails: `vfio restore` tries again. @throws EIO */
export async function bringBackRecorded(saved: SavedVfs): Promise<void> {
  saveVfs(saved);
  const failures = await bringBack(saved);
  if (failures.length === 0) return forgetVfs(saved.pf);
  const { pf, vfs } = saved;
  const message = `${pf}: its ${vfs.length} VFs are not all back: ${failures.join('; ')}`;
  throw new VfioError('EIO', message, { device: pf, hint: hints.vfsNotBack() });
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
    for (const pf of abandonedPfs()) done.push(...(await undoOne(pf)));
    return done;
  });
}

async function undoOne(bdf: string): Promise<BroughtBack[]> {
  try {
    const saved = loadVfs(bdf);
    const pf = existsSync(join(PCI_DEVICES, bdf)) ? readPciDevice(bdf) : undefined;
    // Pulled out, or another card by now: there is nothing to bring back.
    if (pf === undefined || !isIdentity(saved, pf)) {
      forgetVfs(bdf);
      return [];
    }
    await bringBackRecorded(saved);
    return [{ pf: bdf, count: saved.vfs.length, error: null }];
  } catch (error) {
    return [{ pf: bdf, count: 0, error: error as Error }];
  }
}
