/** What a program that measures says: "ready", then a number for each line that comes in. */
import { createInterface } from 'node:readline';
import { warmUp } from './warm-up';

export interface Measurement {
  /** Of one slice. */
  measure(): number | Promise<number>;
  /** Do some of it before the first slice; without, `measure` is as good. */
  warm?(): void | Promise<void>;
  end?(): void | Promise<void>;
}

export async function answer({ measure, warm, end }: Measurement): Promise<void> {
  await warmUp(warm ?? (async () => void (await measure())));
  console.log('ready');
  for await (const _ of createInterface({ input: process.stdin })) {
    console.log((await measure()).toFixed(4));
  }
  await end?.();
}
