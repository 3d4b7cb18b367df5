/** SR-IOV through sysfs. */
import { constants } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno, VfioError } from '../errors';
import { hints } from '../hints';
import { readAttribute, readFunctionLink, readPciDevice } from './sysfs';

export class Sriov {
  readonly #bdf: string;
  readonly #path: string;

  /** @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE */
  constructor(bdf: string) {
    const device = readPciDevice(bdf);
    this.#bdf = device.bdf;
    this.#path = device.path;
  }

  /** VFs the device can have; 0 for a device without SR-IOV. */
  get totalVfs(): number {
    return this.#number('sriov_totalvfs');
  }

  /** VFs it has now. */
  get numVfs(): number {
    return this.#number('sriov_numvfs');
  }

  /** Addresses of its VFs, in their order. */
  vfs(): string[] {
    return Array.from({ length: this.numVfs }, (_, i) =>
      readFunctionLink(join(this.#path, `virtfn${i}`)),
    ).filter((bdf) => bdf !== undefined);
  }

  /**
   * Have `count` VFs; the kernel changes a number only by way of 0, so existing VFs go first unless
   * there are as many already. Resolves to their addresses. Under vfio-pci, new VFs are bound to
   * vfio-pci, too (driver_override), from Linux 5.17.
   * @throws ERR_VFIO_NO_SRIOV, ERR_VFIO_INVALID_ARGUMENT, EACCES (not root)
   */
  async setNumVfs(count: number): Promise<string[]> {
    const { totalVfs } = this;
    if (totalVfs === 0) {
      throw new VfioError('ERR_VFIO_NO_SRIOV', `${this.#bdf} has no SR-IOV`, { device: this.#bdf });
    }
    if (!Number.isInteger(count) || count < 0 || count > totalVfs) {
      throw new VfioError(
        'ERR_VFIO_INVALID_ARGUMENT',
        `${this.#bdf} has 0 to ${totalVfs} VFs, not ${count}`,
        { device: this.#bdf },
      );
    }
    if (this.numVfs === count) return this.vfs();
    if (this.numVfs !== 0) await this.#write(0);
    if (count !== 0) await this.#write(count);
    return this.vfs();
  }

  #number(attribute: string): number {
    const value = Number(readAttribute(join(this.#path, attribute)) ?? 0);
    // A field of 16 bits (SR-IOV 1.1, 3.3.5).
    return Number.isInteger(value) && value >= 0 && value <= 0xffff ? value : 0;
  }

  async #write(count: number): Promise<void> {
    const path = join(this.#path, 'sriov_numvfs');
    try {
      await writeFile(path, String(count), { flag: constants.O_WRONLY });
    } catch (cause) {
      const { code = 'EIO', errno } = cause as NodeJS.ErrnoException;
      const disabled = isErrno(cause, 'ENOENT') || isErrno(cause, 'EOPNOTSUPP');
      throw new VfioError(code, `setting ${count} VFs of ${this.#bdf}: ${code}`, {
        ...(errno === undefined ? {} : { errno: Math.abs(errno) }),
        syscall: 'write',
        device: this.#bdf,
        path,
        hint: disabled ? hints.sriovDisabled() : hints.rootNeeded(path),
        cause,
      });
    }
  }
}
