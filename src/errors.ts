/** The one error type of the library, and how results of the addon become one. */
import { constants } from 'node:os';

/** Conditions that the library itself detects. Anything the kernel refuses has the kernel's name (`EACCES`). */
export type VfioErrorCode =
  | 'ERR_VFIO_CLOSED'
  | 'ERR_VFIO_OUT_OF_RANGE'
  | 'ERR_VFIO_UNALIGNED'
  | 'ERR_VFIO_INVALID_ARGUMENT'
  | 'ERR_VFIO_INVALID_BDF'
  | 'ERR_VFIO_INVALID_UUID'
  | 'ERR_VFIO_UNAVAILABLE'
  | 'ERR_VFIO_NO_DEVICE'
  | 'ERR_VFIO_NO_IOMMU_GROUP'
  | 'ERR_VFIO_NOT_BOUND'
  | 'ERR_VFIO_BIND_FAILED'
  | 'ERR_VFIO_GROUP_NOT_VIABLE'
  | 'ERR_VFIO_OTHER_ADDRESS_SPACE'
  | 'ERR_VFIO_UNSUPPORTED'
  | 'ERR_VFIO_NO_REGION'
  | 'ERR_VFIO_NO_INTERRUPT'
  | 'ERR_VFIO_NO_SRIOV'
  | 'ERR_VFIO_NO_RESET'
  | 'ERR_VFIO_IOVA_SPACE'
  | 'ERR_VFIO_IOVA_TAKEN'
  | 'ERR_VFIO_IOVA_OUTSIDE'
  | 'ERR_VFIO_NOT_TAKEN'
  | 'ERR_VFIO_FOREIGN_BUFFER'
  | 'ERR_VFIO_MALFORMED'
  | 'ERR_VFIO_MIGRATION_STATE';

export interface VfioErrorDetails {
  /** Positive errno of a failed system call. */
  errno?: number;
  /** The system call: `ioctl`, `open`, `mmap`. */
  syscall?: string;
  /** The request of an ioctl: `VFIO_GROUP_GET_DEVICE_FD`. */
  ioctl?: string;
  /** PCI address of the device. */
  device?: string;
  path?: string;
  /** What to do about it. */
  hint?: string;
  cause?: unknown;
}

export class VfioError extends Error implements VfioErrorDetails {
  override readonly name = 'VfioError';
  readonly code: VfioErrorCode | (string & {});
  declare readonly errno?: number;
  declare readonly syscall?: string;
  declare readonly ioctl?: string;
  declare readonly device?: string;
  declare readonly path?: string;
  declare readonly hint?: string;

  constructor(
    code: VfioErrorCode | (string & {}),
    message: string,
    details: VfioErrorDetails = {},
  ) {
    const { cause, ...own } = details;
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    Object.assign(this, Object.fromEntries(Object.entries(own).filter(([, v]) => v !== undefined)));
  }
}

const errnoNames = new Map(Object.entries(constants.errno).map(([name, n]) => [n, name]));
// Of the two names that Node has for one number, the kernel's.
errnoNames.set(constants.errno.EAGAIN, 'EAGAIN');
// What a bind to a descriptor that is no iommufd gives; Node has no name for it.
errnoNames.set(77, 'EBADFD');

/** `13` -> `EACCES`. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `E${errno}`;
}

/** A value of the caller's in a message. The text of an object would be the caller's code, and may throw. */
export function shown(value: unknown): string {
  const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function';
  return isObject ? `a value of type ${typeof value}` : String(value);
}

/** The error for a negative result of the addon. */
export function systemError(result: number, what: string, details: VfioErrorDetails): VfioError {
  const code = errnoName(-result);
  return new VfioError(code, `${what}: ${code}`, { errno: -result, ...details });
}

/** Pass a result through, or throw it as an error if it is a negative errno. */
export function check(result: number, what: string, details: VfioErrorDetails): number {
  if (result < 0) throw systemError(result, what, details);
  return result;
}

export function closedError(what: string): VfioError {
  return new VfioError('ERR_VFIO_CLOSED', `${what} is closed`, {
    hint: 'it was closed, or the device or container it belongs to was; open it again',
  });
}

export function invalidArgument(message: string, details: VfioErrorDetails = {}): VfioError {
  return new VfioError('ERR_VFIO_INVALID_ARGUMENT', message, details);
}

export function isErrno(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === code;
}
