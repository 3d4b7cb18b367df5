/** Records of what devices had before they were bound, so that another process can give them back. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { VfioError } from '../../errors';
import { STATE } from '../paths';
import { type DriverState, isDriverState } from './bind';
import { type Identity, isIdentity, readRecord, recordedAddresses, writeRecord } from './records';
import { areVfStates, type VfStates } from './saved-vfs';

export interface SavedBinding extends Identity {
  readonly bdf: string;
  readonly before: DriverState;
  /** What it was to be bound to. */
  readonly driver: string;
  /** The VFs that went with its driver. */
  readonly vfs: VfStates;
  /** False while it is being changed: seen under the lock, its process was killed. */
  readonly complete: boolean;
}

export const recordPath = (bdf: string) => join(STATE, `${bdf}.json`);

export function saveBinding(saved: SavedBinding): void {
  writeRecord(recordPath(saved.bdf), saved);
}

export function forgetBinding(bdf: string): void {
  rmSync(recordPath(bdf), { force: true });
}

/** @throws ERR_VFIO_MALFORMED */
export function loadBinding(bdf: string): SavedBinding | undefined {
  const path = recordPath(bdf);
  if (!existsSync(path)) return undefined;
  const saved = readRecord<SavedBinding>(
    path,
    (record) =>
      record.bdf === bdf &&
      isIdentity(record) &&
      isDriverState(record.before) &&
      areVfStates(record.vfs),
  );
  if (saved) return saved;
  throw new VfioError('ERR_VFIO_MALFORMED', `${path} is no record of a binding`, {
    path,
    hint: 'remove it; then vfio restore lets the kernel choose the driver',
  });
}

/** Devices that have a record, readable or not. */
export const savedAddresses = () => recordedAddresses(STATE);
