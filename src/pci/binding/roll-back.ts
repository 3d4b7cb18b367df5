/** What a failure is when going back failed, too. */
import { VfioError } from '../../errors';

/** `cause` where all went back, else an error that tells of both. */
export function rolledBack(cause: unknown, failures: readonly string[], hint: string): unknown {
  if (failures.length === 0) return cause;
  const { code = 'EIO', message } = cause as NodeJS.ErrnoException;
  return new VfioError(code, `${message}; and going back: ${failures.join('; ')}`, { hint, cause });
}
