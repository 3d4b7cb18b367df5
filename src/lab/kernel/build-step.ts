import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { LabError } from '../errors';
import { eachLine } from '../lines';

/** How many lines of a failed program's output are quoted. */
const KEPT_LINES = 20;

/** What the programs of a build have in common. */
export interface BuildContext {
  /** Inherited by every process, so that a lock lasts as long as any of them. */
  lock: number;
  /** Ends the build. */
  signal: AbortSignal | undefined;
}

/** One program of a build. */
export interface BuildStep {
  /** For messages, such as `unpacking the source`. */
  what: string;
  command: readonly [program: string, ...args: string[]];
  cwd: string;
  env?: Readonly<Record<string, string>>;
  /** Sees each line it prints. */
  onLine?: (line: string) => void;
}

/**
 * Runs a program, with little claim to the CPU, to its end.
 *
 * @throws LabError `LAB_SETUP` if it fails, with what it said; the signal's reason if that ended
 *   it. No process of it is left in either case.
 */
export async function runStep(step: BuildStep, context: BuildContext): Promise<void> {
  context.signal?.throwIfAborted();
  const child = spawn('nice', ['-n', '10', ...step.command], {
    cwd: step.cwd,
    // Not the caller's environment: MAKEFLAGS, ARCH or CFLAGS would change what is built.
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C', ...step.env },
    stdio: ['ignore', 'pipe', 'pipe', context.lock],
    // A process group of its own, so that all of it can be ended, and only from here.
    detached: true,
  });
  const end = () => endGroup(child.pid);
  context.signal?.addEventListener('abort', end);
  const last: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    eachLine(stream as Readable, (line) => {
      last.push(line);
      if (last.length > KEPT_LINES) last.shift();
      step.onLine?.(line);
    });
  }
  try {
    // Not before its output is closed, that is, when the last process of the group is gone.
    const [status] = await once(child, 'close');
    context.signal?.throwIfAborted();
    if (status !== 0) throw failure(step, last.join('\n'));
  } catch (error) {
    context.signal?.throwIfAborted();
    throw error instanceof LabError ? error : failure(step, String(error));
  } finally {
    context.signal?.removeEventListener('abort', end);
  }
}

function endGroup(leader: number | undefined): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, 'SIGTERM');
  } catch {
    // It has just ended by itself.
  }
}

function failure({ what, command }: BuildStep, said: string): LabError {
  return new LabError('LAB_SETUP', `${what} failed (${command.join(' ')}):\n${said}`);
}
