/** The descriptor through which a device gives its state, or takes it. */
import { read, write } from 'node:fs';
import { promisify } from 'node:util';
import { closedError } from '../../errors';
import { migGetPrecopyInfo, type PrecopyInfo } from '../../ioctl/migration';
import { native } from '../../native';

const readAsync = promisify(read);
const writeAsync = promisify(write);

export class MigrationData {
  readonly #fd: number;
  readonly #onClose: (data: MigrationData) => void;
  /** The transfers so far, one after the other: the pool runs them in any order. */
  #busy: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  /** Owner of `fd`. */
  constructor(fd: number, onClose: (data: MigrationData) => void) {
    this.#fd = fd;
    this.#onClose = onClose;
  }

  /**
   * Bytes read, on the thread pool; 0 at the end of what there is in this state.
   * @throws as read(2)
   */
  read(into: Uint8Array): Promise<number> {
    return this.#transfer(async () => {
      try {
        return (await readAsync(this.#fd, into, 0, into.length, null)).bytesRead;
      } catch (error) {
        // A driver's way to say in PRE_COPY that there is nothing now (linux/vfio.h).
        if ((error as NodeJS.ErrnoException).code === 'ENOMSG') return 0;
        throw error;
      }
    });
  }

  /** All of `bytes`, on the thread pool. @throws as write(2) */
  write(bytes: Uint8Array): Promise<void> {
    return this.#transfer(async () => {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await writeAsync(this.#fd, bytes, done, bytes.length - done, null);
        done += bytesWritten;
      }
    });
  }

  /** @throws EINVAL unless the device is in a pre-copy state */
  precopyInfo(): PrecopyInfo {
    if (this.#closing) throw closedError('migration data');
    return migGetPrecopyInfo(this.#fd);
  }

  /** Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#busy;
    native.close(this.#fd);
    this.#onClose(this);
  }

  #transfer<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#closing) return Promise.reject(closedError('migration data'));
    const result = this.#busy.then(operation);
    this.#busy = result.catch(() => {});
    return result;
  }
}
