/** Every write to an attribute of sysfs, and what its errno means to the user. */
import { isErrno, VfioError } from '../errors';
import { hints } from '../hints';
import { blockingWrite } from './blocking-write';

/** A write to sysfs, as `echo text > path`. */
export interface SysfsWrite {
  readonly path: string;
  readonly text: string;
}

export interface WriteSubject {
  /** The start of the message: `setting 2 VFs of 0000:01:00.0`. */
  readonly what: string;
  readonly device?: string;
  /** What an errno means for this attribute, where the kernel gives it a meaning of its own. */
  readonly hints?: Readonly<Record<string, string | undefined>>;
}

/** Errnos of drivers and of the driver core, which log the reason. */
const logged = new Set(['EBUSY', 'EINVAL', 'EIO', 'ENOSPC', 'ENXIO', 'ERANGE', 'ETIMEDOUT']);

/** @throws VfioError with the errno of open(2) or write(2) */
export async function writeSysfs({ path, text }: SysfsWrite, subject: WriteSubject): Promise<void> {
  try {
    await blockingWrite(path, text);
  } catch (cause) {
    const { code = 'EIO', errno } = cause as NodeJS.ErrnoException;
    throw new VfioError(code, `${subject.what}: ${code}`, {
      ...(errno === undefined ? {} : { errno: Math.abs(errno) }),
      syscall: 'write',
      path,
      ...(subject.device === undefined ? {} : { device: subject.device }),
      hint: writeHint(cause, path, subject.hints),
      cause,
    });
  }
}

/** Absent where the errno alone says all that is known. */
export function writeHint(
  cause: unknown,
  path: string,
  own: WriteSubject['hints'] = {},
): string | undefined {
  const { code = '' } = cause as NodeJS.ErrnoException;
  if (own[code] !== undefined) return own[code];
  if (isErrno(cause, 'EACCES') || isErrno(cause, 'EPERM')) return hints.writeRefused(path);
  if (isErrno(cause, 'EROFS')) return hints.readOnly(path);
  if (isErrno(cause, 'EMFILE') || isErrno(cause, 'ENFILE')) return hints.openFiles();
  if (isErrno(cause, 'ENODEV')) return hints.deviceLeft();
  return logged.has(code) ? hints.kernelRefused() : undefined;
}
