import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { endOfStream } from '../guest/command-script';
import { UntilToken } from './until-token';

/**
 * Writes a stream of a command to `target`; resolves when it has all of it, and is pending for ever
 * if the end never comes.
 *
 * @param id of the command
 * @param onFailure called if the target takes no more
 */
export async function deliver(
  source: Readable,
  target: Writable,
  id: string,
  onFailure: (cause: unknown) => void,
): Promise<void> {
  const until = source.pipe(new UntilToken(endOfStream(id)));
  const listening = new AbortController();
  const { signal } = listening;
  const broken = once(target, 'close', { signal }).then(() => {
    throw new Error('it was closed');
  });
  // Also while the target has room, as one that has failed seems to.
  broken.catch((cause) => until.destroy(cause));
  // The loop throws what happens before the end. After it, it destroys the stream, which can still
  // be written to, and calls that an error.
  until.on('error', () => {});
  try {
    for await (const chunk of until) {
      if (!target.write(chunk)) await Promise.race([once(target, 'drain', { signal }), broken]);
    }
    await Promise.race([flushed(target), broken]);
  } catch (cause) {
    onFailure(cause);
    // The guest ends a command whose output goes somewhere.
    source.unpipe(until).resume();
  } finally {
    listening.abort();
  }
  if (!until.complete) await new Promise<never>(() => {});
}

/** Only where something is left: test runners replace write() by one that calls nobody back. */
async function flushed(target: Writable): Promise<void> {
  if (target.writableLength === 0) return;
  await new Promise<void>((resolve, reject) => {
    target.write('', (error) => (error ? reject(error) : resolve()));
  });
}
