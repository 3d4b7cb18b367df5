/** The listeners of an event. Whatever one of them returns, throws or changes, the others are called as before. */
import { invalidArgument } from '../errors';

/** @throws ERR_VFIO_INVALID_ARGUMENT */
export function assertFunction(value: unknown, what: string): void {
  if (typeof value === 'function') return;
  throw invalidArgument(`${what} is not a function: ${typeof value}`);
}

interface Entry<Event> {
  readonly listener: (event: Event) => unknown;
  active: boolean;
}

export class Listeners<Event extends object> {
  /** Replaced and never changed: a listener may add and remove others while it is called. */
  #entries: readonly Entry<Event>[] = [];

  get count(): number {
    return this.#entries.length;
  }

  /** Call `listener` for each event until the returned function is called. @throws ERR_VFIO_INVALID_ARGUMENT */
  add(listener: (event: Event) => unknown): () => void {
    assertFunction(listener, 'the listener');
    const entry = { listener, active: true };
    this.#entries = [...this.#entries, entry];
    return () => {
      entry.active = false;
      this.#entries = this.#entries.filter((other) => other !== entry);
    };
  }

  clear(): void {
    for (const entry of this.#entries) entry.active = false;
    this.#entries = [];
  }

  /** `hold` is called for each listener that returns a promise, and what it returns once that is settled. */
  tell(event: Event, hold?: () => () => void): void {
    for (const entry of this.#entries) {
      if (!entry.active) continue;
      const { listener } = entry;
      try {
        const result = listener({ ...event });
        if (hold && isObject(result)) settled(result).finally(hold());
      } catch (error) {
        // An uncaught exception, as in any listener of Node; the others are told all the same.
        setImmediate(() => {
          throw error;
        });
      }
    }
  }
}

function isObject(value: unknown): boolean {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

/** Also for a thenable that is no promise, and for one whose `then` throws. */
function settled(value: unknown): Promise<unknown> {
  return new Promise((resolve) => resolve(value));
}
