/** Records of what devices had before, by address, that outlive the process (tmpfs: not a reboot). */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { listDirectory, type PciDevice, readStart } from '../sysfs';

/** Of the device that a record is about: another one may be at its address by now. */
export type Identity = Pick<PciDevice, 'vendor' | 'device'>;

export const identityOf = ({ vendor, device }: Identity): Identity => ({ vendor, device });

/** Whether a record has one, and it is that of `device` if one is given. */
export function isIdentity(record: Identity, device: Identity = record): boolean {
  return (
    Number.isInteger(record.vendor) &&
    Number.isInteger(record.device) &&
    record.vendor === device.vendor &&
    record.device === device.device
  );
}

/** There is the whole record or none, whenever the process ends. */
export function writeRecord(path: string, record: unknown): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(record)}\n`);
  renameSync(temporary, path);
}

/** 65,535 VFs take 8 MB. */
const MAX_RECORD = 64 << 20;

/** undefined where there is none, or it says something else than a record of its kind. */
export function readRecord<Record>(
  path: string,
  isValid: (record: Record) => boolean,
): Record | undefined {
  try {
    const record = JSON.parse(readStart(path, MAX_RECORD).toString('utf8')) as Record;
    return isValid(record) ? record : undefined;
  } catch {
    return undefined;
  }
}

/** Addresses that have a record, readable or not. */
export function recordedAddresses(directory: string): string[] {
  return listDirectory(directory).flatMap((name) => /^(.+)\.json$/.exec(name)?.[1] ?? []);
}
