/** Signals that ask to end, for commands that have something to put back first. */
import { VfioError } from '../errors';

/** SIGHUP: the terminal is gone, as with the SSH session whose interface was taken. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Run `action` with a signal that these abort. The second of a kind ends the process, as ever. */
export async function interruptible<T>(action: (stop: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const abort = (name: NodeJS.Signals) => stop.abort(new VfioError('EINTR', `ended by ${name}`));
  for (const name of signals) process.once(name, abort);
  try {
    return await action(stop.signal);
  } finally {
    for (const name of signals) process.off(name, abort);
  }
}
