/** What every command has around it: an exit status, and failures told without a stack trace. */
import { errorDocument, printError } from './errors';
import { jsonText, type Output } from './output';

/** Stable: scripts branch on them. */
export const status = { ok: 0, failed: 1, blocked: 2, notExamined: 3 } as const;
export type Status = (typeof status)[keyof typeof status];

export interface Telling {
  readonly output: Output;
  /** Failures are JSON on the output, too: `{"error": {"code", "message", "hint"}}`. */
  readonly json?: true | undefined;
  /** The status of a failure, where 1 has another meaning. */
  readonly failure?: Status;
}

/** Runs a command; what it resolves to becomes the exit status, what it throws a message. */
export async function run(
  { output, json, failure = status.failed }: Telling,
  command: () => Promise<Status> | Status,
): Promise<void> {
  process.stdout.off('error', onOutputError).on('error', onOutputError);
  try {
    process.exitCode = await command();
  } catch (error) {
    if (json) output.write(jsonText({ error: errorDocument(error) }));
    else printError(error);
    process.exitCode = failure;
  }
}

/** A reader that has seen enough (`| head`) is no failure; a full disk is. */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(status.ok);
  printError(new Error(`writing output: ${error.code ?? error.message}`));
  process.exit(status.failed);
}
