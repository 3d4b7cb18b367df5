/** A descriptor that was opened elsewhere and handed over: owned from the start, closed unless somebody takes it. */
import { constants } from 'node:os';
import { check } from './errors';
import { native } from './native';

export class GivenFd implements Disposable {
  readonly #fd: number;
  readonly #adopted: number;
  #taken = false;

  /** @throws EBADF */
  constructor(fd: number) {
    this.#fd = fd;
    this.#adopted = native.adoptFd(fd);
    // One that is given twice may still do: the group it is of is open by it.
    if (this.#adopted !== -constants.errno.EEXIST) this.#check();
  }

  /** To ask the kernel what it is. @throws EEXIST if this thread owns it already */
  get fd(): number {
    this.#check();
    return this.#fd;
  }

  /** Whoever takes it closes it. @throws EEXIST if this thread owns it already */
  take(): number {
    this.#check();
    this.#taken = true;
    return this.#fd;
  }

  [Symbol.dispose](): void {
    if (!this.#taken && this.#adopted >= 0) native.close(this.#fd);
    this.#taken = true;
  }

  #check(): void {
    check(this.#adopted, `descriptor ${this.#fd}`, { syscall: 'fcntl' });
  }
}
