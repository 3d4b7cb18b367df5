import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** Calls `onLine` with each line of a stream. Its errors are the stream owner's to handle. */
export function eachLine(input: Readable, onLine: (line: string) => void): void {
  const lines = createInterface({ input });
  lines.on('line', onLine);
  lines.on('error', () => {}); // readline repeats the stream's own
}
