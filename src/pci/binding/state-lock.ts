/** One process at a time changes bindings and their records. */
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { VfioError } from '../../errors';
import { STATE } from '../paths';
import { writeHint } from '../sysfs-write';

const PATIENCE_S = 30;
/** EX_TEMPFAIL of sysexits.h: no status that flock(1) has of its own. */
const TAKEN = 75;

/**
 * Run `change` while no other process is in here. The lock goes with the process, however it ends.
 * @throws EBUSY (another one has been for 30 s), EACCES (not root)
 */
export async function withStateLock<T>(change: () => Promise<T>): Promise<T> {
  const fd = openLock();
  try {
    await lock(fd);
    return await change();
  } finally {
    closeSync(fd);
  }
}

function openLock(): number {
  const path = join(STATE, 'lock');
  try {
    mkdirSync(STATE, { recursive: true, mode: 0o755 });
    return openSync(path, 'w', 0o600);
  } catch (cause) {
    const { code = 'EIO' } = cause as NodeJS.ErrnoException;
    throw new VfioError(code, `opening ${path}: ${code}`, {
      ...{ path, syscall: 'open', cause },
      hint: writeHint(cause, path),
    });
  }
}

/** Node has no flock(2). The lock belongs to the open file, which flock(1) only shares. */
async function lock(fd: number): Promise<void> {
  const { spawn } = await import('node:child_process');
  const args = ['-E', String(TAKEN), '-w', String(PATIENCE_S), '3'];
  const child = spawn('flock', args, { stdio: ['ignore', 'ignore', 'ignore', fd] });
  const [status] = await once(child, 'exit').catch((cause) => {
    throw new VfioError('ERR_VFIO_UNAVAILABLE', 'there is no flock(1)', {
      hint: 'install util-linux',
      cause,
    });
  });
  if (status === 0) return;
  if (status === TAKEN) {
    throw new VfioError('EBUSY', 'another vfio bind or restore is at work', {
      hint: 'wait until it has ended; it may wait for a process to let go of a device',
    });
  }
  throw new VfioError('EINTR', `flock ended with ${status ?? 'a signal'}`);
}
