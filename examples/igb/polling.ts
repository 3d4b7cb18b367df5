/** Polls until told to stop, and lets signals and timers of the event loop have their turn. */
import { setImmediate as turn } from 'node:timers/promises';

/** Polls between two turns of the event loop: well under a millisecond when there is nothing to do. */
const POLLS = 256;

/** @param poll returns whether to go on */
export async function pollUntil(signal: AbortSignal, poll: () => boolean): Promise<void> {
  while (!signal.aborted) {
    for (let i = 0; i < POLLS; i++) if (!poll()) return;
    await turn();
  }
}
