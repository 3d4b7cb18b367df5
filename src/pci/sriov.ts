/** SR-IOV through sysfs. */
import { changeVfs } from './binding/vf-transaction';
import { readPciDevice } from './sysfs';
import { totalVfs, vfAddresses, vfCount } from './virtual-functions';

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
    return totalVfs({ path: this.#path });
  }

  /** VFs it has now. */
  get numVfs(): number {
    return vfCount({ path: this.#path });
  }

  /** Addresses of its VFs, in their order. */
  vfs(): string[] {
    return vfAddresses({ path: this.#path });
  }

  /**
   * Have `count` VFs; the kernel changes a number only via 0, so existing VFs go first unless
   * there are as many already. If that fails, the old VFs are back, under the drivers that they had.
   * Resolves to their addresses. Under vfio-pci, new VFs are bound to vfio-pci, too
   * (driver_override), from Linux 5.17. `force`: also if VFs that go are in use.
   * @throws ERR_VFIO_NO_SRIOV, ERR_VFIO_INVALID_ARGUMENT, EBUSY (a VF is in use), EACCES (not root)
   */
  setNumVfs(count: number, options: { readonly force?: boolean } = {}): Promise<string[]> {
    return changeVfs(this.#bdf, count, options);
  }
}
