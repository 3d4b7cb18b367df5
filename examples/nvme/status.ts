/** The status of a completion: 15 bits above the phase tag (base specification, 3.3.3.2.1). */

export interface Status {
  /** Status code type. */
  readonly type: number;
  /** Status code. */
  readonly code: number;
  /** The same command will fail again (Do Not Retry). */
  readonly doNotRetry: boolean;
  /** The Error Information log has more. */
  readonly more: boolean;
  readonly text: string;
}

const TYPES = ['generic', 'command specific', 'media or data integrity', 'path related'] as const;

/** Names of the codes by type and code (figures 93 to 98; NVM: figures 14 to 18). */
const TEXTS: Readonly<Record<number, string>> = {
  [at(0, 0x00)]: 'success',
  [at(0, 0x01)]: 'invalid command opcode',
  [at(0, 0x02)]: 'invalid field in command',
  [at(0, 0x03)]: 'command id conflict',
  [at(0, 0x04)]: 'data transfer error',
  [at(0, 0x05)]: 'aborted due to power loss',
  [at(0, 0x06)]: 'internal error',
  [at(0, 0x07)]: 'abort requested',
  [at(0, 0x08)]: 'aborted as its submission queue was deleted',
  [at(0, 0x0b)]: 'invalid namespace or format',
  [at(0, 0x0c)]: 'command sequence error',
  [at(0, 0x13)]: 'PRP offset invalid',
  [at(0, 0x15)]: 'operation denied',
  [at(0, 0x1c)]: 'sanitize failed',
  [at(0, 0x1d)]: 'sanitize in progress',
  [at(0, 0x20)]: 'namespace is write protected',
  [at(0, 0x80)]: 'LBA out of range',
  [at(0, 0x81)]: 'capacity exceeded',
  [at(0, 0x82)]: 'namespace not ready',
  [at(0, 0x83)]: 'reservation conflict',
  [at(1, 0x00)]: 'completion queue invalid',
  [at(1, 0x01)]: 'invalid queue id',
  [at(1, 0x02)]: 'invalid queue size',
  [at(1, 0x03)]: 'abort command limit exceeded',
  [at(1, 0x08)]: 'invalid interrupt vector',
  [at(1, 0x0a)]: 'invalid format',
  [at(1, 0x0d)]: 'feature not saveable',
  [at(1, 0x80)]: 'conflicting attributes',
  [at(1, 0x81)]: 'invalid protection information',
  [at(1, 0x82)]: 'write to a read only range',
  [at(2, 0x80)]: 'write fault',
  [at(2, 0x81)]: 'unrecovered read error',
  [at(2, 0x82)]: 'guard check error',
  [at(2, 0x83)]: 'application tag check error',
  [at(2, 0x84)]: 'reference tag check error',
  [at(2, 0x85)]: 'compare failure',
  [at(2, 0x86)]: 'access denied',
  [at(2, 0x87)]: 'deallocated or unwritten block',
  [at(3, 0x00)]: 'internal path error',
  [at(3, 0x60)]: 'controller path error',
  [at(3, 0x70)]: 'host path error',
  [at(3, 0x71)]: 'aborted by the host',
};

function at(type: number, code: number): number {
  return (type << 8) | code;
}

/** `status` as QueuePair.reap hands it out: SC in bits 7:0, SCT 10:8, CRD 12:11, M 13, DNR 14. */
export function decodeStatus(status: number): Status {
  const code = status & 0xff;
  const type = (status >>> 8) & 0x7;
  const kind = TYPES[type] ?? (type === 7 ? 'vendor specific' : 'reserved');
  const number = `SCT ${type}, SC 0x${code.toString(16).padStart(2, '0')}`;
  return {
    type,
    code,
    doNotRetry: (status & 0x4000) !== 0,
    more: (status & 0x2000) !== 0,
    text: `${TEXTS[at(type, code)] ?? `${kind} error`} (${number})`,
  };
}

/** A command that the controller completed with an error. */
export class NvmeError extends Error {
  override readonly name = 'NvmeError';
  readonly status: Status;

  constructor(command: string, status: number) {
    const decoded = decodeStatus(status);
    super(`${command}: ${decoded.text}${decoded.doNotRetry ? ', do not retry' : ''}`);
    this.status = decoded;
  }
}

/** A command that did not complete in its time, or a controller that does not do as told. */
export class ControllerError extends Error {
  override readonly name = 'ControllerError';

  constructor(
    message: string,
    readonly hint?: string,
  ) {
    super(message);
  }
}
