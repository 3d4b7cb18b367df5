/** Records of what devices had before they were bound, so that another process can give them back. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { VfioError } from '../../errors';
import { STATE } from '../paths';
import { readAttribute } from '../sysfs';
import { type DriverState, isDriverState } from './bind';
import { recordedAddresses, writeRecord } from './records';

export interface SavedBinding {
  readonly bdf: string;
  readonly before: DriverState;
  /** What it was to be bound to. */
  readonly driver: string;
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
  const text = readAttribute(recordPath(bdf));
  if (text === undefined) return undefined;
  try {
    const saved = JSON.parse(text) as SavedBinding;
    if (saved.bdf === bdf && isDriverState(saved.before)) return saved;
  } catch {
    // As one that says something else.
  }
  throw new VfioError('ERR_VFIO_MALFORMED', `${recordPath(bdf)} is no record of a binding`, {
    path: recordPath(bdf),
    hint: 'remove it; then vfio restore lets the kernel choose the driver',
  });
}

/** Devices that have a record, readable or not. */
export const savedAddresses = () => recordedAddresses(STATE);
