/**
 * What went wrong, for programs:
 * - `LAB_ARGUMENT`: an option is wrong; nothing was started
 * - `LAB_SETUP`: QEMU, the kernel or another package is missing and could not be fetched
 * - `LAB_QEMU`: QEMU refused its command line or failed to start
 * - `LAB_BOOT`: the guest did not get as far as being ready for commands
 * - `LAB_PANIC`: the guest kernel panicked, oopsed or locked up
 * - `LAB_DIED`: the VM ended before the command did
 * - `LAB_TIMEOUT`: the command ran longer than allowed, and was killed; the lab is as it was
 * - `LAB_OUTPUT`: the command's output cannot be delivered, such as to a closed pipe; the same holds
 * - `LAB_BUSY`: as many commands run in the lab as it can take
 * - `LAB_GONE`: no lab with that ID is running
 * - `LAB_CLOSED`: `close()` ended the VM before the command did
 */
export type LabErrorCode =
  | 'LAB_ARGUMENT'
  | 'LAB_SETUP'
  | 'LAB_QEMU'
  | 'LAB_BOOT'
  | 'LAB_PANIC'
  | 'LAB_DIED'
  | 'LAB_TIMEOUT'
  | 'LAB_OUTPUT'
  | 'LAB_BUSY'
  | 'LAB_GONE'
  | 'LAB_CLOSED';

/** A failure of the lab itself, as opposed to a non-zero status of the command inside it. */
export class LabError extends Error {
  override readonly name = 'LabError';
  readonly code: LabErrorCode;
  /** What to do about it. */
  readonly hint: string | undefined;
  /** The last lines of the guest's kernel log, oldest first; empty if there was no guest. */
  readonly kernelLog: readonly string[];

  constructor(
    code: LabErrorCode,
    message: string,
    details: { hint?: string; kernelLog?: readonly string[]; cause?: unknown } = {},
  ) {
    super(message, { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.kernelLog = details.kernelLog ?? [];
  }
}
