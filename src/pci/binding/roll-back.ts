/** What a failure is when going back failed, too. */
import { VfioError } from '../../errors';

/** `cause` where all went back, else an error that names both. */
export function rolledBack(cause: unknown, failures: readonly string[]): unknown {
  if (failures.length === 0) return cause;
  const { code = 'EIO', message, hint } = cause as Partial<VfioError> & Error;
  return new VfioError(code, `${message}; and going back: ${failures.join('; ')}`, {
    hint: ['vfio restore tries again', ...(hint === undefined ? [] : [hint])].join('; '),
    cause,
  });
}
