/** Records of what devices had before, by address, that outlive the process (tmpfs: not a reboot). */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { listDirectory } from '../sysfs';

/** There is the whole record or none, whenever the process ends. */
export function writeRecord(path: string, record: unknown): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(record)}\n`);
  renameSync(temporary, path);
}

/** Addresses that have a record, readable or not. */
export function recordedAddresses(directory: string): string[] {
  return listDirectory(directory).flatMap((name) => /^(.+)\.json$/.exec(name)?.[1] ?? []);
}
