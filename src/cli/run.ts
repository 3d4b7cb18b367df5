/** What every command has around it: an exit status, and failures told without a stack trace. */
import { printError } from './errors';

/** Stable: scripts branch on them. */
export const status = { ok: 0, failed: 1, blocked: 2 } as const;
export type Status = (typeof status)[keyof typeof status];

/** Runs a command; what it resolves to becomes the exit status, what it throws a message. */
export async function run(command: () => Promise<Status> | Status): Promise<void> {
  process.stdout.off('error', onOutputError).on('error', onOutputError);
  try {
    process.exitCode = await command();
  } catch (error) {
    printError(error);
    process.exitCode = status.failed;
  }
}

/** A reader that has seen enough (`| head`) is no failure; a full disk is. */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(status.ok);
  printError(new Error(`writing output: ${error.code ?? error.message}`));
  process.exit(status.failed);
}
