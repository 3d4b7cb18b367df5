/** Which memory devices have written to. */
import { native } from '../native';
import type { DirtyTracking } from './backend';
import { DirtyBitmap } from './dirty-bitmap';

export class DirtyTracker {
  readonly #kernel: DirtyTracking;
  readonly #assertOpen: () => void;

  /** Made by `AddressSpace`. */
  constructor(kernel: DirtyTracking, assertOpen: () => void) {
    this.#kernel = kernel;
    this.#assertOpen = assertOpen;
  }

  /** @throws ERR_VFIO_UNSUPPORTED if neither the kernel nor the IOMMU can tell */
  async start(): Promise<void> {
    this.#assertOpen();
    await this.#kernel.start();
  }

  async stop(): Promise<void> {
    this.#assertOpen();
    await this.#kernel.stop();
  }

  /**
   * What devices wrote to of a mapping since tracking began or since the last call. type1 knows only
   * what is pinned, and reports all of that each time.
   */
  async read(
    mapping: { iova: bigint; size: number },
    pageSize = native.pageSize,
  ): Promise<DirtyBitmap> {
    this.#assertOpen();
    const { iova, size } = mapping;
    const bytes = await this.#kernel.read(iova, BigInt(size), pageSize);
    return new DirtyBitmap({ iova, size, pageSize, bytes });
  }
}
