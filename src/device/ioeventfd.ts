/** Writes to a device that the kernel makes whenever an eventfd is signaled. */

import { deviceIoeventfd, type IoeventfdWidth, type IoeventfdWrite } from '../ioctl/ioeventfd';
import type { EventfdHandle } from '../irq/eventfd';

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
  #active = true;

  /** `base`: where the region is in the device's file. */
  constructor(
    deviceFd: number,
    base: number,
    { offset, width, value }: IoeventfdOptions,
    { fd }: EventfdHandle,
  ) {
    this.#deviceFd = deviceFd;
    this.#write = { offset: base + offset, width, data: BigInt.asUintN(width, BigInt(value)) };
    deviceIoeventfd(deviceFd, this.#write, fd);
  }

  /** The eventfd is a counter like any other again. Idempotent. */
  close(): void {
    if (!this.#active) return;
    this.#active = false;
    deviceIoeventfd(this.#deviceFd, this.#write, -1);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
