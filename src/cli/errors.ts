import type { Writable } from 'node:stream';
import { VfioError } from '../errors';
import { LabError } from '../lab';

/** Prints a failure the way a command does: what, why, what to do; no stack trace. */
export function printError(error: unknown, stderr: Writable = process.stderr): void {
  if (!(error instanceof LabError)) {
    stderr.write(`vfio: ${error instanceof Error ? error.message : String(error)}\n`);
    if (error instanceof VfioError && error.hint) stderr.write(`vfio: ${error.hint}\n`);
    return;
  }
  if (error.kernelLog.length > 0) {
    stderr.write('vfio: the last lines of the guest kernel:\n');
    for (const line of error.kernelLog) stderr.write(`  ${line}\n`);
  }
  stderr.write(`vfio: ${error.message}\n`);
  if (error.hint !== undefined) stderr.write(`vfio: ${error.hint}\n`);
}
