/** Ranges of the addon that another thread of the process made, taken by their ids. */
import { check, VfioError } from './errors';
import { native } from './native';

/**
 * This thread's reference to a range, until `native.rangeRelease` or the end of the thread.
 * @throws ERR_VFIO_INVALID_ARGUMENT in the thread that has it already, EBADF if it is gone, EINVAL for
 * what is no range
 */
export function attachRange(range: number, what: string): void {
  if (native.rangeLength(range) >= 0) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `${what} is attached in this thread already`, {
      hint: 'share() is for other threads (node:worker_threads): post its result there',
    });
  }
  const result = native.rangeAttach(range);
  if (result >= 0) return;
  check(result, `attaching ${what}`, {
    hint: 'whoever shared it has closed it since, or has ended',
  });
}
