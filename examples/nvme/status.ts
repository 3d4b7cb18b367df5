/** Completion status (NVMe Base 2.0, 3.3.3.2.1): status code type and status code in words. */

/** A command that the controller completed with an error, or never (timeout, reset). */
export class NvmeError extends Error {
  override readonly name = 'NvmeError';
  constructor(
    message: string,
    /** Status field: code in bits 7:0, type in 10:8, more in 13, do not retry in 14; -1 for none. */
    readonly status: number,
    readonly hint?: string,
  ) {
    super(message);
  }
}

/** What a command is completed with when the controller was reset under it. */
export const STATUS_RESET = -1;

const TYPES = ['generic', 'command specific', 'media error', 'path'] as const;

/** By type << 8 | code (figures 94 to 97). */
const CODES: Readonly<Record<number, string>> = {
  0: 'successful completion',
  1: 'invalid command opcode',
  2: 'invalid field in command',
  3: 'command ID conflict',
  4: 'data transfer error',
  5: 'aborted: power loss',
  6: 'internal error',
  7: 'abort requested',
  8: 'aborted: submission queue deleted',
  11: 'invalid namespace or format',
  19: 'PRP offset invalid',
  128: 'LBA out of range',
  129: 'capacity exceeded',
  130: 'namespace not ready',
  256: 'completion queue invalid',
  257: 'invalid queue identifier',
  258: 'invalid queue size',
  259: 'abort command limit exceeded',
  261: 'asynchronous event request limit exceeded',
  264: 'invalid interrupt vector',
  384: 'conflicting attributes',
  386: 'attempted write to read-only range',
  640: 'write fault',
  641: 'unrecovered read error',
  645: 'compare failure',
  646: 'access denied',
};

const DO_NOT_RETRY = 1 << 14;

export function describeStatus(status: number): string {
  if (status === STATUS_RESET) return 'the controller was reset';
  const type = (status >>> 8) & 7;
  const code = status & 0xff;
  const name = CODES[(type << 8) | code] ?? `${TYPES[type] ?? `type ${type}`} status`;
  const retry = status & DO_NOT_RETRY ? ', do not retry' : '';
  return `${name} (type ${type}, code 0x${code.toString(16)}${retry})`;
}
