import type { AddressSpace } from '../dma/address-space';
import { check } from '../errors';
import type { IommuHwInfo } from '../ioctl/iommufd';
import { native } from '../native';
import type { Operations } from './operations';

/** A device's descriptor, and how it is in its address space: by its group, or by itself. */
export interface Attachment {
  readonly fd: number;
  readonly space: AddressSpace;
  /** What is under way on the descriptor. */
  readonly operations: Operations;
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

/** Wait for what is under way, close the descriptor, and release the rest. `onClosed` comes in between. */
export async function closeAttachment(
  device: string,
  attachment: Attachment,
  onClosed: () => void = () => {},
): Promise<void> {
  await attachment.operations.end();
  const closed = await native.closeAsync(attachment.fd);
  onClosed();
  await attachment.release();
  check(closed, `close ${device}`, { syscall: 'close', device });
}
