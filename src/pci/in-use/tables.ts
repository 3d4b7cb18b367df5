/** Tables of procfs. */
import { join } from 'node:path';
import { PROC } from '../paths';
import { readStart } from '../sysfs';

const MAX_TABLE = 4 << 20;

/** Empty where there is nothing, an unreadable table included: the kernel has none of its kind then. */
export function tableRows(path: string): string[][] {
  try {
    const text = readStart(join(PROC, path), MAX_TABLE).toString('latin1');
    return text.split('\n').map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
}
