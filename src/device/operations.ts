/** Everything under way on a device's descriptor: the device is closed after the last of them has ended. */
import { closedError } from '../errors';

/** Makes a request on the device's descriptor, which stays open until it is done. @throws ERR_VFIO_CLOSED */
export type UseDevice = <T>(request: (fd: number) => Promise<T>) => Promise<T>;

export class Operations {
  readonly #device: string;
  readonly #pending = new Set<Promise<unknown>>();
  #ended = false;

  constructor(device: string) {
    this.#device = device;
  }

  /** The descriptor stays open until `operation` is done. @throws ERR_VFIO_CLOSED after `end` */
  async run<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#ended) throw closedError(this.#device);
    const running = operation();
    this.#pending.add(running);
    try {
      return await running;
    } finally {
      this.#pending.delete(running);
    }
  }

  /** Resolves once nothing is under way; nothing begins after that. */
  async end(): Promise<void> {
    while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
    this.#ended = true;
  }
}
