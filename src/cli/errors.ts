import type { Writable } from 'node:stream';
import { VfioError } from '../errors';
import { LabError } from '../lab/errors';
import { printable, printableLines } from '../printable';

/** Prints a failure the way a command does: what, why, what to do; no stack trace. */
export function printError(error: unknown, stderr: Writable = process.stderr): void {
  const print = (text: string) => stderr.write(`vfio: ${printableLines(text)}\n`);
  if (error instanceof LabError && error.kernelLog.length > 0) {
    print('the last lines of the guest kernel:');
    for (const line of error.kernelLog) stderr.write(`  ${printable(line)}\n`);
  }
  print(error instanceof Error ? error.message : String(error));
  if ((error instanceof VfioError || error instanceof LabError) && error.hint) print(error.hint);
}

export interface ErrorDocument {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
}

/** What `--json` has for a failure. */
export function errorDocument(error: unknown): ErrorDocument {
  const { code, message, hint } = error as Partial<VfioError>;
  return { code: code ?? 'ERR_UNKNOWN', message: message ?? String(error), hint: hint ?? null };
}
