import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { LabError } from './errors';

/**
 * An exclusive lock on a file (flock(2)). It belongs to the open file: it lasts until `descriptor`
 * is closed here and in every process that has inherited it, however those end.
 */
export interface FileLock extends Disposable {
  readonly descriptor: number;
}

/**
 * Takes the lock on `path`, a file that is made if missing and stays.
 *
 * @param onBusy called if another process has the lock, before waiting for it
 * @throws the signal's reason if that comes first
 */
export async function lockFile(
  path: string,
  onBusy: () => void,
  signal?: AbortSignal,
): Promise<FileLock> {
  mkdirSync(dirname(path), { recursive: true });
  const descriptor = openSync(path, 'w');
  const lock = { descriptor, [Symbol.dispose]: () => closeSync(descriptor) };
  try {
    if (!(await flock(['--exclusive', '--nonblock'], descriptor, signal))) {
      onBusy();
      if (!(await flock(['--exclusive'], descriptor, signal))) {
        throw new LabError('LAB_SETUP', `cannot lock ${path}`);
      }
    }
    return lock;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** Takes the lock if no other process has it. */
export async function tryLockFile(path: string): Promise<FileLock | undefined> {
  const descriptor = openSync(path, 'a');
  const lock = { descriptor, [Symbol.dispose]: () => closeSync(descriptor) };
  if (await flock(['--exclusive', '--nonblock'], descriptor, undefined)) return lock;
  closeSync(descriptor);
  return undefined;
}

/** Node has no flock(2), but the program (util-linux) takes the lock for an inherited file. */
async function flock(
  options: readonly string[],
  descriptor: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const child = spawn('flock', [...options, '3'], {
    stdio: ['ignore', 'ignore', 'ignore', descriptor],
    signal,
  });
  const [status] = await once(child, 'exit');
  return status === 0;
}
