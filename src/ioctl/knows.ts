/** Whether a descriptor's kernel side knows a request, found out without making it. */
import { isErrno, systemError } from '../errors';
import { native } from '../native';
import { type RequestName, requests } from './abi/requests';

/** More than any struct has, so that the kernel never reads past it. */
const ROOM = 256;
/** Less than any struct that begins with its size has. */
const TOO_SHORT = 4;

/**
 * Make a request whose struct begins with its size (`argsz`, iommufd: `size`) with a size that is
 * too small: a kernel that knows it answers EINVAL before it looks at anything else, one that does
 * not ENOTTY. Not for requests with other arguments, VFIO_DEVICE_RESET above all.
 * @throws what else the kernel answers
 */
export function knowsRequest(fd: number, ioctl: RequestName): boolean {
  const bytes = new Uint8Array(ROOM);
  new DataView(bytes.buffer).setUint32(0, TOO_SHORT, true);
  const result = native.ioctlStruct(fd, requests[ioctl], bytes);
  if (result >= 0) return true;
  const error = systemError(result, ioctl, { syscall: 'ioctl', ioctl });
  if (isErrno(error, 'EINVAL')) return true;
  if (isErrno(error, 'ENOTTY')) return false;
  throw error;
}
