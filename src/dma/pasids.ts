/**
 * PASIDs of a device, each in an address space. iommufd takes only page tables that were made for
 * it, for the PASIDs and for the device's own DMA.
 */
import { VfioError } from '../errors';
import { IOMMU_HWPT_ALLOC_PASID } from '../ioctl/abi/iommufd-constants';
import { iommuDestroy, iommuHwInfo } from '../ioctl/iommufd';
import { iommuHwptAlloc } from '../ioctl/iommufd-hwpt';

/** A device in an iommufd, and how a page table (or an IOAS) gets to it. */
export interface PasidDevice {
  /** Its id in the iommufd. */
  readonly id: number;
  /** Of one of its PASIDs, or of all other DMA: attach, or replace what is attached. */
  attach(ptId: number, pasid?: number): Promise<unknown>;
  detach(pasid: number): Promise<void>;
}

/** What cannot be while a device has PASIDs. */
export function withPasids(what: string): VfioError {
  return new VfioError('ERR_VFIO_UNSUPPORTED', `${what} while the device has PASIDs attached`, {
    hint: 'iommufd puts a device with PASIDs onto page tables made for those only: detachPasid() first',
  });
}

export class Pasids {
  readonly #iommufd: number;
  readonly #device: PasidDevice;
  /** Page tables by PASID. */
  readonly #tables = new Map<number, number>();
  /** The one for the device's own DMA, as long as there are PASIDs. */
  #ownTable: number | undefined;

  constructor(iommufd: number, device: PasidDevice) {
    this.#iommufd = iommufd;
    this.#device = device;
  }

  /**
   * DMA of `pasid` goes to the IOAS `ioas`; the device's own is in `ownIoas`.
   * @throws ERR_VFIO_UNSUPPORTED where device or IOMMU have no PASIDs, ERR_VFIO_INVALID_ARGUMENT
   */
  async attach(pasid: number, ioas: number, ownIoas: number): Promise<void> {
    this.#assertWidth(pasid);
    this.#ownTable ??= await this.#attachTable(ownIoas);
    const before = this.#tables.get(pasid);
    try {
      this.#tables.set(pasid, await this.#attachTable(ioas, pasid));
    } catch (error) {
      await this.#restoreOwn(ownIoas);
      throw error;
    }
    if (before !== undefined) iommuDestroy(this.#iommufd, before);
  }

  /** Then the device's own DMA, too, is on a page table made for PASIDs. */
  get attached(): boolean {
    return this.#ownTable !== undefined;
  }

  /** DMA of `pasid` is blocked from now on. */
  async detach(pasid: number, ownIoas: number): Promise<void> {
    await this.#device.detach(pasid);
    const table = this.#tables.get(pasid);
    if (table !== undefined) iommuDestroy(this.#iommufd, table);
    this.#tables.delete(pasid);
    await this.#restoreOwn(ownIoas);
  }

  /** The device is closed, and off all its page tables. */
  forget(): void {
    for (const table of this.#tables.values()) iommuDestroy(this.#iommufd, table);
    this.#tables.clear();
    if (this.#ownTable !== undefined) iommuDestroy(this.#iommufd, this.#ownTable);
    this.#ownTable = undefined;
  }

  /** The kernel takes PASIDs, to no effect, for devices that have none. */
  #assertWidth(pasid: number): void {
    const { maxPasidLog2: width } = iommuHwInfo(this.#iommufd, this.#device.id);
    if (width === 0) {
      throw new VfioError('ERR_VFIO_UNSUPPORTED', 'the device or its IOMMU has no PASIDs');
    }
    if (Number.isInteger(pasid) && pasid > 0 && pasid < 2 ** width) return;
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `not a PASID of ${width} bits: ${pasid}`);
  }

  async #attachTable(ioas: number, pasid?: number): Promise<number> {
    const table = await iommuHwptAlloc(
      this.#iommufd,
      this.#device.id,
      ioas,
      IOMMU_HWPT_ALLOC_PASID,
    );
    try {
      await this.#device.attach(table, pasid);
      return table;
    } catch (error) {
      iommuDestroy(this.#iommufd, table);
      throw error;
    }
  }

  /** Without PASIDs, the device is on the page table that the kernel keeps for its IOAS. */
  async #restoreOwn(ownIoas: number): Promise<void> {
    if (this.#tables.size > 0 || this.#ownTable === undefined) return;
    await this.#device.attach(ownIoas);
    iommuDestroy(this.#iommufd, this.#ownTable);
    this.#ownTable = undefined;
  }
}
