import type { IovaRange } from '../ioctl/container';
import type { DmaBuffer } from './buffer';
import type { IovaConstraints } from './iova-allocator';

/** An I/O address space: what the devices in it can reach by DMA. */
export interface AddressSpace {
  /** Usable IOVAs, both ends inclusive; undefined if the kernel does not report them. */
  readonly iovaRanges: readonly IovaRange[] | undefined;
  /** Bit n set: pages of 2^n bytes can be mapped. */
  readonly pageSizes: bigint;
  /**
   * Zeroed memory that every device in the space can read and write. `size` is rounded up to pages.
   * @throws ERR_VFIO_IOVA_SPACE, ENOMEM (RLIMIT_MEMLOCK), ENOSPC (too many mappings), ERR_VFIO_CLOSED
   */
  alloc(size: number, constraints?: IovaConstraints): Promise<DmaBuffer>;
}
