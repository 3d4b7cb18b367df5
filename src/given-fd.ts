/** A descriptor that was opened elsewhere, for a process without the right to. */
import { check, shown } from './errors';
import { native } from './native';

/**
 * A duplicate of it, closed unless somebody takes it. The caller's own stays the caller's: Node, or
 * another thread, may be about to close it.
 */
export class GivenFd implements Disposable {
  readonly #fd: number;
  #taken = false;

  /** @throws EBADF */
  constructor(fd: number) {
    this.#fd = check(native.duplicateFd(fd), `descriptor ${shown(fd)}`, { syscall: 'fcntl' });
  }

  /** To ask the kernel what it is. */
  get fd(): number {
    return this.#fd;
  }

  /** Whoever takes it closes it. */
  take(): number {
    this.#taken = true;
    return this.#fd;
  }

  [Symbol.dispose](): void {
    if (!this.#taken) native.close(this.#fd);
    this.#taken = true;
  }
}
