/** Which memory devices have written to. */
import { native } from '../native';
import type { DirtyTracking } from './backend';
import { DirtyBitmap } from './dirty-bitmap';
import type { IovaSpan } from './mapping';

/** Close the mapping at a place by another way to unmap it. */
export type CloseBy = (mapping: IovaSpan, unmap: () => Promise<void>) => Promise<void>;

export class DirtyTracker {
  readonly #kernel: DirtyTracking;
  readonly #assertOpen: () => void;
  readonly #closeBy: CloseBy;

  /** Made by `AddressSpace`. */
  constructor(kernel: DirtyTracking, assertOpen: () => void, closeBy: CloseBy) {
    this.#kernel = kernel;
    this.#assertOpen = assertOpen;
    this.#closeBy = closeBy;
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
  async read(mapping: IovaSpan, pageSize = native.pageSize): Promise<DirtyBitmap> {
    this.#assertOpen();
    const { iova, size } = mapping;
    const bytes = await this.#kernel.read(iova, BigInt(size), pageSize);
    return new DirtyBitmap({ iova, size, pageSize, bytes });
  }

  /**
   * Take a mapping away from the devices, and tell what they wrote to of it since the last report: on a
   * container up to that moment, under iommufd up to shortly before, so let them come to rest. The
   * memory stays readable until its buffer is closed.
   * @throws ERR_VFIO_INVALID_ARGUMENT if it is no mapping of this space
   */
  async last(mapping: IovaSpan, pageSize = native.pageSize): Promise<DirtyBitmap> {
    this.#assertOpen();
    const { iova, size } = mapping;
    let bytes: Uint8Array<ArrayBuffer> | undefined;
    await this.#closeBy(mapping, async () => {
      bytes = await this.#kernel.readAndUnmap(iova, BigInt(size), pageSize);
    });
    return new DirtyBitmap({ iova, size, pageSize, bytes });
  }
}
