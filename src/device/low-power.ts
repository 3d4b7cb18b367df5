/** Low power states of a device (VFIO_DEVICE_FEATURE_LOW_POWER_*). */
import { check, closedError } from '../errors';
import * as ioctl from '../ioctl/low-power';
import { native } from '../native';

export interface LowPowerOptions {
  /**
   * Called once the device has left low power by itself: it raised PME#, or the kernel resumed it for somebody.
   * Until then, it keeps the process alive.
   */
  readonly onWakeup?: () => void;
}

export class LowPower {
  readonly #device: string;
  readonly #fd: number;
  readonly #onAwake: () => void;
  #eventfd: number | undefined;
  #closed = false;

  /** Made by the device. `onAwake` makes its mappings work again. */
  constructor(device: string, fd: number, onAwake: () => void) {
    this.#device = device;
    this.#fd = fd;
    this.#onAwake = onAwake;
  }

  /**
   * Let the platform put the device into the lowest state it has for it (D3hot, or D3cold with the
   * power off). Registers that are mapped answer EIO until the exit; what goes through the kernel
   * (config space, resets) wakes the device for its time or, with `onWakeup`, for good.
   * @throws EINVAL if it is in low power, ENOTTY before Linux 6.1
   */
  enter({ onWakeup }: LowPowerOptions = {}): void {
    this.#assertOpen();
    if (!onWakeup) {
      ioctl.deviceFeatureLowPowerEntry(this.#fd);
      return;
    }
    const eventfd = native.eventfdOpen(() => {
      this.#awake();
      onWakeup();
    });
    check(eventfd, 'eventfd', { syscall: 'eventfd2' });
    try {
      ioctl.deviceFeatureLowPowerEntryWithWakeup(this.#fd, eventfd);
    } catch (error) {
      native.eventfdClose(eventfd);
      throw error;
    }
    this.#eventfd = eventfd;
  }

  /** Back to full power, with registers and config space as they were. Does nothing if it has that. */
  exit(): void {
    this.#assertOpen();
    ioctl.deviceFeatureLowPowerExit(this.#fd);
    this.#awake();
  }

  /** Called by the device as it closes. */
  close(): void {
    this.#closed = true;
    this.#forget();
  }

  #awake(): void {
    this.#forget();
    this.#onAwake();
  }

  #forget(): void {
    if (this.#eventfd !== undefined) native.eventfdClose(this.#eventfd);
    this.#eventfd = undefined;
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError(this.#device);
  }
}
