/** /dev/iommu, which several address spaces can share. */
import { constants as fsConstants } from 'node:fs';
import { systemError, VfioError } from '../errors';
import { hints } from '../hints';
import { IOMMU_OPTION_RLIMIT_MODE } from '../ioctl/abi/iommufd-constants';
import { iommuOptionGet, iommuOptionSet } from '../ioctl/iommufd';
import { native } from '../native';
import { IOMMUFD_PATH } from './container';
import type { MemlockAccounting } from './memlock';

export class Iommufd {
  readonly fd: number;
  readonly accounting: MemlockAccounting;
  #users = 0;

  private constructor(fd: number, accounting: MemlockAccounting) {
    this.fd = fd;
    this.accounting = accounting;
  }

  /** An open /dev/iommu; owned from now on, closed if it is unfit. */
  static from(fd: number, accounting?: MemlockAccounting): Iommufd {
    try {
      return new Iommufd(fd, account(fd, accounting));
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
}

/** How it is in the end. @throws EPERM without CAP_SYS_RESOURCE, EBUSY if something was made on it already */
function account(fd: number, wanted?: MemlockAccounting): MemlockAccounting {
  const whole = 0;
  const process = iommuOptionGet(fd, IOMMU_OPTION_RLIMIT_MODE, whole) === 1n;
  const accounting = process ? 'process' : 'user';
  if (wanted === undefined || wanted === accounting) return accounting;
  iommuOptionSet(fd, IOMMU_OPTION_RLIMIT_MODE, whole, wanted === 'process' ? 1n : 0n);
  return wanted;
}
