/** The request that has the kernel write to a region whenever an eventfd is signaled. */

import * as c from './abi/constants';
import { vfio_device_ioeventfd } from './abi/ioeventfd-structs';
import { callStruct } from './call';

const sizes = {
  8: c.VFIO_DEVICE_IOEVENTFD_8,
  16: c.VFIO_DEVICE_IOEVENTFD_16,
  32: c.VFIO_DEVICE_IOEVENTFD_32,
  64: c.VFIO_DEVICE_IOEVENTFD_64,
} as const;

/** Bits of one write. */
export type IoeventfdWidth = keyof typeof sizes;

export interface IoeventfdWrite {
  /** In the device's file. */
  readonly offset: number;
  readonly width: IoeventfdWidth;
  readonly data: bigint;
}

/**
 * Have the kernel write `data` for each signal of `eventfd`; -1 ends that.
 * @throws EEXIST if it does so already, ENODEV if it does not, ENOSPC from 1000 on, EINVAL for what is
 * no BAR, near the MSI-X table, or a width that the kernel does not have
 */
export function deviceIoeventfd(
  fd: number,
  { offset, width, data }: IoeventfdWrite,
  eventfd: number,
): void {
  const arg = vfio_device_ioeventfd.create();
  arg.flags = sizes[width];
  arg.offset = BigInt(offset);
  arg.data = data;
  arg.fd = eventfd;
  callStruct(fd, 'VFIO_DEVICE_IOEVENTFD', arg);
}
