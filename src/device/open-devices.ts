/**
 * The devices that this thread has open, each once: by its group, the kernel would give a device away
 * again, and the second user would take interrupts and bus master from the first.
 */
import { VfioError } from '../errors';
import { hints } from '../hints';

interface Holder {
  /** It is being closed. */
  readonly closed: boolean;
  close(): Promise<void>;
}

const opening: Holder = { closed: false, close: async () => {} };
const holders = new Map<string, Holder>();

/** A device's place among those that are open, from before it is opened until it is closed. */
export class Place {
  readonly #device: string;
  #left = false;

  private constructor(device: string) {
    this.#device = device;
  }

  /** Waits for one that is being closed. @throws EBUSY if the device is open in this thread */
  static async take(device: string): Promise<Place> {
    for (let holder = holders.get(device); holder; holder = holders.get(device)) {
      if (!holder.closed) {
        throw new VfioError('EBUSY', `${device} is open already`, {
          device,
          hint: hints.openHere(device),
        });
      }
      await holder.close().catch(() => {});
    }
    holders.set(device, opening);
    return new Place(device);
  }

  hold(holder: Holder): void {
    holders.set(this.#device, holder);
  }

  /** Idempotent: by then, it may be another's. */
  leave(): void {
    if (!this.#left) holders.delete(this.#device);
    this.#left = true;
  }
}
