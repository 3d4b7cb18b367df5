/** Errors of a stream that nobody waits for: one that was abandoned ends with its device, and not the process. */
import type { Readable, Writable } from 'node:stream';
import { types } from 'node:util';
import { isErrno } from '../../errors';

/**
 * What a stream says as it ends although its device could not be put back: nothing where the device was
 * closed meanwhile, as that resets it; an error to whoever listens for one; else a warning.
 */
export function endError(stream: Readable | Writable, cause: unknown): Error | null {
  if (isErrno(cause, 'ERR_VFIO_CLOSED')) return null;
  const error = asError(cause);
  if (stream.listenerCount('error') > 0) return error;
  process.emitWarning(error);
  return null;
}

/** What `_construct` does: the stream begins, or ends without a word if its device was closed and nobody uses it. */
export function construct(
  stream: Readable | Writable,
  begun: Promise<void>,
  callback: (error?: Error | null) => void,
): void {
  begun.then(
    () => callback(),
    (error) => {
      const unused = stream.destroyed || isUnused(stream, error);
      callback(unused ? null : error);
      if (unused) stream.destroy();
    },
  );
}

/** Whether a stream that could not begin, because its device was closed, is one that nobody uses. */
function isUnused(stream: Readable | Writable, cause: unknown): boolean {
  if (!isErrno(cause, 'ERR_VFIO_CLOSED') || stream.listenerCount('error') > 0) return false;
  return 'writableLength' in stream
    ? stream.writableLength === 0 && !stream.writableEnded
    : stream.readableFlowing !== true;
}

/** Of whatever a callback threw: a stream takes null and undefined for success. */
export function asError(reason: unknown): Error {
  return types.isNativeError(reason)
    ? reason
    : new Error(`not an error was thrown: ${String(reason)}`);
}
