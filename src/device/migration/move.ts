import { finished, pipeline } from 'node:stream/promises';
import type { LoadOptions } from './load-stream';
import type { Migration } from './migration';
import type { SaveOptions } from './save-stream';

export interface MoveOptions extends LoadOptions {
  readonly from?: SaveOptions['from'];
}

/** What `Migration.moveTo` does. */
export async function move(
  source: Migration,
  target: Migration,
  { from, signal, ...options }: MoveOptions,
): Promise<void> {
  const before = source.state;
  const aborted = signal && { signal };
  const saved = source.saveState({ ...(from && { from }), ...aborted });
  const loaded = target.loadState({ ...options, ...aborted });
  // Until both have put their device into its last state.
  const ended = Promise.allSettled([finished(saved), finished(loaded)]);
  try {
    await pipeline(saved, loaded);
    const [stopped] = await ended;
    if (stopped.status === 'rejected') throw stopped.reason;
  } catch (error) {
    await ended;
    // What the target has taken must not go on here too.
    if (!loaded.writableFinished) await goBack(source, before, error);
    throw error;
  }
}

async function goBack(source: Migration, before: Migration['state'], why: unknown): Promise<void> {
  try {
    await source.setState(before);
  } catch (error) {
    throw new AggregateError([why, error], `the device was not moved, and is not ${before} again`);
  }
}
