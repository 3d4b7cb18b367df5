/** The async iterator behind `for await (const event of irq)`. */

export interface IrqEvent {
  readonly vector: number;
  /** How many interrupts this stands for: those that came before anyone looked are one event. */
  readonly count: number;
}

interface Pending {
  vector: number;
  count: number;
  done: Array<() => void>;
}

/**
 * Events that nobody waits for are added up per vector, so the queue is never longer than the
 * device has vectors, however far its reader falls behind.
 */
export class EventQueue implements AsyncIterableIterator<IrqEvent> {
  readonly #pending = new Map<number, Pending>();
  readonly #waiting: Waiter[] = [];
  readonly #onEnd: (left: readonly IrqEvent[]) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.end();
  /** Called when the consumer comes back for the next event. */
  #handling: Array<() => void> = [];
  #ended = false;

  /** `onEnd` is called with the events that a consumer leaves behind, if it leaves before the end. */
  constructor(signal: AbortSignal | undefined, onEnd: (left: readonly IrqEvent[]) => void) {
    this.#signal = signal;
    this.#onEnd = onEnd;
    if (signal?.aborted) this.#ended = true;
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** `done` is called once the consumer has dealt with the event, or the queue has ended. */
  push({ vector, count }: IrqEvent, done?: () => void): void {
    const waiting = this.#waiting.shift();
    if (waiting) {
      if (done) this.#handling.push(done);
      waiting.resolve({ done: false, value: { vector, count } });
      return;
    }
    const pending = this.#pending.get(vector) ?? { vector, count: 0, done: [] };
    pending.count += count;
    if (done) pending.done.push(done);
    this.#pending.set(vector, pending);
  }

  next(): Promise<IteratorResult<IrqEvent>> {
    this.#handled();
    const [first] = this.#pending.values();
    if (first) {
      this.#pending.delete(first.vector);
      this.#handling = first.done;
      return Promise.resolve({ done: false, value: { vector: first.vector, count: first.count } });
    }
    if (this.#signal?.aborted) return Promise.reject(this.#signal.reason);
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  return(): Promise<IteratorResult<IrqEvent>> {
    const left = [...this.#pending.values()].map(({ vector, count }) => ({ vector, count }));
    this.#end(left);
    this.#pending.clear();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Nothing comes any more; what is pending is still delivered. */
  end(): void {
    this.#end([]);
  }

  #end(left: readonly IrqEvent[]): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (this.#signal?.aborted) reject(this.#signal.reason);
      else resolve({ done: true, value: undefined });
    }
    for (const { done } of this.#pending.values()) this.#handling.push(...done.splice(0));
    this.#handled();
    this.#onEnd(left);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #handled(): void {
    const handled = this.#handling;
    if (handled.length === 0) return;
    this.#handling = [];
    for (const done of handled) done();
  }
}

interface Waiter {
  resolve(result: IteratorResult<IrqEvent>): void;
  reject(reason: unknown): void;
}
