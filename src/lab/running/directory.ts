import { randomBytes } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { LabError } from '../errors';

/** The longest path of a socket is 107 bytes (unix(7)); the names below a VM's directory are short. */
const MAX_DIRECTORY = 80;

/**
 * Where the running VMs of this user are, a directory each: `$XDG_RUNTIME_DIR/vfio-lab`, else
 * `/tmp/vfio-lab-UID`. Made if missing, for this user alone.
 *
 * @throws LabError `LAB_SETUP` if it is somebody else's
 */
export function runtimeDirectory(): string {
  const { uid } = userInfo();
  const base = process.env.XDG_RUNTIME_DIR;
  const own = base && isAbsolute(base) && isOwnDirectory(base, uid) ? join(base, 'vfio-lab') : '';
  const fits = own !== '' && own.length < MAX_DIRECTORY;
  const path = fits ? own : join(tmpdir().length < 40 ? tmpdir() : '/tmp', `vfio-lab-${uid}`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const { mode } = lstatSync(path);
  if (!isOwnDirectory(path, uid) || (mode & 0o077) !== 0) {
    throw new LabError('LAB_SETUP', `${path} is not a directory of this user alone`, {
      hint: 'remove it, or set XDG_RUNTIME_DIR to a directory of your own',
    });
  }
  return path;
}

/** A new VM's directory; its name is the VM's ID. */
export function makeVmDirectory(): { id: string; directory: string } {
  for (;;) {
    const id = randomBytes(3).toString('hex');
    const directory = join(runtimeDirectory(), id);
    try {
      mkdirSync(directory, { mode: 0o700 });
      return { id, directory };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

/** Not recursive: the host's files are mounted below, though not as this process sees it. */
export function removeVmDirectory(directory: string): void {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    for (const entry of entries) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) rmdirSync(path);
      else rmSync(path, { force: true });
    }
    rmdirSync(directory);
  } catch (error) {
    // The VM's keeper may have done it at the same time.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function isOwnDirectory(path: string, uid: number): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isDirectory() === true && stat.uid === uid;
}
