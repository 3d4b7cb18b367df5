/** Writes to a device that the kernel makes whenever an eventfd is signaled. */
import { deviceIoeventfd, type IoeventfdWidth, type IoeventfdWrite } from '../ioctl/ioeventfd';

export interface IoeventfdOptions {
  /** Bytes from the start of the region, a multiple of the width. */
  readonly offset: number;
  readonly width: IoeventfdWidth;
  /** What is written, cut to the width. */
  readonly value: number | bigint;
}

/** Made by `Region.ioeventfd`. */
export class Ioeventfd implements Disposable {
  readonly #deviceFd: number;
  readonly #write: IoeventfdWrite;
  readonly #onClose: (closed: Ioeventfd) => void;
  #active = true;

  /** `write`: where in the device's file, and what. */
  constructor(
    deviceFd: number,
    write: IoeventfdWrite,
    eventfd: number,
    onClose: (closed: Ioeventfd) => void,
  ) {
    this.#deviceFd = deviceFd;
    this.#write = write;
    this.#onClose = onClose;
    deviceIoeventfd(deviceFd, write, eventfd);
  }

  /** The eventfd is a counter like any other again. Idempotent; after an error, it can be closed again. */
  close(): void {
    if (!this.#active) return;
    deviceIoeventfd(this.#deviceFd, this.#write, -1);
    this.forget();
  }

  /** Called by the region as it closes: the kernel drops it with the device. */
  forget(): void {
    this.#active = false;
    this.#onClose(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
