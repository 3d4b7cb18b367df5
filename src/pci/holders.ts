/** Who has a file open. */
import { readlinkSync } from 'node:fs';
import { printable } from '../printable';
import { PROC } from './paths';
import { listDirectory, readAttribute } from './sysfs';

/**
 * `node (pid 123)` for each process that has `path` open, as far as the caller may see: other users'
 * processes are hidden from all but root.
 */
export function findHolders(path: string): string[] {
  return listDirectory(PROC)
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => holds(pid, path))
    .map((pid) => `${printable(readAttribute(`${PROC}/${pid}/comm`) ?? '?')} (pid ${pid})`);
}

function holds(pid: string, path: string): boolean {
  const directory = `${PROC}/${pid}/fd`;
  try {
    return listDirectory(directory).some((fd) => target(`${directory}/${fd}`) === path);
  } catch {
    // Not ours to look into.
    return false;
  }
}

function target(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    // Closed since it was listed.
    return undefined;
  }
}
