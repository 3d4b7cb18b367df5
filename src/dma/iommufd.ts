/** /dev/iommu, which several address spaces can share. */
import { constants as fsConstants } from 'node:fs';
import { systemError, VfioError } from '../errors';
import { hints } from '../hints';
import { IOMMU_OPTION_RLIMIT_MODE } from '../ioctl/abi/iommufd-constants';
import { iommuOptionGet, iommuOptionSet } from '../ioctl/iommufd';
import { native } from '../native';
import { IOMMUFD_PATH } from './container';

/** 'user': all that the user's processes have pinned, together (the kernel's default). */
export type MemlockAccounting = 'user' | 'process';

export class Iommufd {
  readonly fd: number;
  #users = 0;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** An open /dev/iommu; owned from now on, closed if it is unfit. */
  static from(fd: number, accounting?: MemlockAccounting): Iommufd {
    const iommufd = new Iommufd(fd);
    try {
      if (accounting) iommufd.#account(accounting);
      return iommufd;
    } catch (error) {
      native.close(fd);
      throw error;
    }
  }

  /** @throws ERR_VFIO_UNAVAILABLE without iommufd in the kernel, EACCES without the right to open it */
  static open(accounting?: MemlockAccounting): Iommufd {
    const fd = native.open(IOMMUFD_PATH, fsConstants.O_RDWR);
    if (fd >= 0) return Iommufd.from(fd, accounting);
    const details = { syscall: 'open', path: IOMMUFD_PATH };
    const error = systemError(fd, `open ${IOMMUFD_PATH}`, {
      ...details,
      hint: hints.nodePermission(IOMMUFD_PATH),
    });
    if (error.code !== 'ENOENT') throw error;
    throw new VfioError('ERR_VFIO_UNAVAILABLE', `there is no ${IOMMUFD_PATH}`, {
      ...details,
      errno: -fd,
      hint: "the kernel lacks CONFIG_IOMMUFD (or: modprobe iommufd); { backend: 'group' } works without",
    });
  }

  /** One address space more; each is paid back by one `release`. */
  use(): this {
    this.#users += 1;
    return this;
  }

  /** The last one closes it. */
  release(): void {
    this.#users -= 1;
    if (this.#users === 0) native.close(this.fd);
  }

  /** @throws EPERM without CAP_SYS_RESOURCE, EBUSY if something was made on it already */
  #account(accounting: MemlockAccounting): void {
    const value = accounting === 'process' ? 1n : 0n;
    const whole = 0;
    if (iommuOptionGet(this.fd, IOMMU_OPTION_RLIMIT_MODE, whole) === value) return;
    iommuOptionSet(this.fd, IOMMU_OPTION_RLIMIT_MODE, whole, value);
  }
}
