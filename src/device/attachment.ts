import type { AddressSpace } from '../dma/address-space';

/** A device's descriptor, and how it is in its address space: by its group, or by itself. */
export interface Attachment {
  readonly fd: number;
  readonly space: AddressSpace;
  /** Into another space while it is open; absent where the kernel's interface cannot. */
  move?(space: AddressSpace): Promise<void>;
  /** The device's descriptor is closed: let go of what came with it. */
  release(): Promise<void>;
}
