import type { AddressSpace } from '../dma/address-space';
import type { IommuHwInfo } from '../ioctl/iommufd';

/** A device's descriptor, and how it is in its address space: by its group, or by itself. */
export interface Attachment {
  readonly fd: number;
  readonly space: AddressSpace;
  /** What takes iommufd. */
  readonly iommufd?: IommufdAttachment;
  /** The device's descriptor is closed: let go of what came with it. */
  release(): Promise<void>;
}

/** What a device that iommufd knows by itself, and not by its group, can do besides. */
export interface IommufdAttachment {
  /** Into another space, of the same iommufd, while it is open. */
  move(space: AddressSpace): Promise<void>;
  /** DMA that the device marks with this PASID goes to `space`. */
  attachPasid(pasid: number, space: AddressSpace): Promise<void>;
  detachPasid(pasid: number): Promise<void>;
  hwInfo(): IommuHwInfo;
}
