/** /dev/iommu, which several address spaces can share. */
import { constants as fsConstants } from 'node:fs';
import { systemError, VfioError } from '../errors';
import { hints } from '../hints';
import { native } from '../native';
import { IOMMUFD_PATH } from './container';

export class Iommufd {
  readonly fd: number;
  #users = 0;

  /** An open /dev/iommu, owned from now on. */
  constructor(fd: number) {
    this.fd = fd;
  }

  /** @throws ERR_VFIO_UNAVAILABLE without iommufd in the kernel, EACCES without the right to open it */
  static open(): Iommufd {
    const fd = native.open(IOMMUFD_PATH, fsConstants.O_RDWR);
    if (fd >= 0) return new Iommufd(fd);
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
