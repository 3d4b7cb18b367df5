/** eventfd(2) as something to hand to the kernel. */
import { check, closedError, invalidArgument } from '../errors';
import { native } from '../native';
import { assertFunction } from './listeners';

/** Anything with an eventfd's descriptor: an `Eventfd`, or one that came from elsewhere (a VMM, another process). */
export interface EventfdHandle {
  readonly fd: number;
}

/** The descriptor of `eventfd`, read once. @throws ERR_VFIO_INVALID_ARGUMENT */
export function eventfdOf(eventfd: EventfdHandle): number {
  const fd: unknown = eventfd?.fd;
  if (typeof fd === 'number' && Number.isInteger(fd) && fd >= 0 && fd < 2 ** 31) return fd;
  throw invalidArgument(`not the descriptor of an eventfd: ${String(fd)}`, {
    hint: 'pass an Eventfd, an EventfdWatch, or an object with its descriptor: { fd }',
  });
}

/**
 * An eventfd whose signals this thread hears: for a vector that another thread hands over
 * (`irq.handOver(vector, { fd })`). Closed as the thread ends.
 */
export class EventfdWatch implements EventfdHandle, Disposable {
  readonly #fd: number;
  #closed = false;

  /** `listener`: called with the count since the last time. @throws EMFILE, ERR_VFIO_INVALID_ARGUMENT */
  constructor(listener: (count: number) => void) {
    assertFunction(listener, 'the listener');
    this.#fd = check(native.eventfdOpen(listener), 'eventfd', { syscall: 'eventfd2' });
  }

  get fd(): number {
    if (this.#closed) throw closedError('eventfd');
    return this.#fd;
  }

  /** Whether it keeps the thread's event loop alive, as it does at first. */
  ref(): void {
    native.eventfdRef(this.fd);
  }

  unref(): void {
    native.eventfdUnref(this.fd);
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    native.eventfdClose(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A counter in the kernel, which interrupts add to, or which writes to a device and unmasks interrupts. */
export class Eventfd implements EventfdHandle, Disposable {
  readonly #fd: number;
  #closed = false;

  /** @throws EMFILE */
  constructor() {
    this.#fd = check(native.eventfdCreate(), 'eventfd', { syscall: 'eventfd2' });
  }

  /** Never to be closed by its number. */
  get fd(): number {
    if (this.#closed) throw closedError('eventfd');
    return this.#fd;
  }

  /** Add to the counter. @throws EAGAIN if the sum does not fit in 64 bits, ERR_VFIO_INVALID_ARGUMENT */
  write(count = 1): void {
    if (!Number.isSafeInteger(count) || count < 0) {
      throw invalidArgument(`not a count to add to an eventfd: ${String(count)}`);
    }
    check(native.eventfdWrite(this.fd, count), 'eventfd', { syscall: 'write' });
  }

  /** Take the counter, without waiting: 0 if nothing was added since the last time. */
  read(): number {
    return check(native.eventfdRead(this.fd), 'eventfd', { syscall: 'read' });
  }

  /** Whatever the kernel had bound to it is unbound. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    native.eventfdClose(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
