/** Tables of procfs. */
import { join } from 'node:path';
import { fileText } from '../kernel-files';
import { PROC } from '../paths';

/** Empty where there is nothing, an unreadable table included: the kernel has none of its kind then. */
export function tableRows(path: string): string[][] {
  const lines = fileText(join(PROC, path))?.split('\n') ?? [];
  return lines.map((line) => line.trim().split(/\s+/));
}
