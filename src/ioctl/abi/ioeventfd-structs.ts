/** The struct of linux/vfio.h about writes to a region by eventfd, field by field under its C name. */
import { struct } from './layout';

/** `flags`: VFIO_DEVICE_IOEVENTFD_*. `fd` is -1 to take the ioeventfd away. */
export const vfio_device_ioeventfd = struct('vfio_device_ioeventfd', {
  argsz: 'u32',
  flags: 'u32',
  offset: 'u64',
  data: 'u64',
  fd: 's32',
  reserved: 'u32',
});
