/** Which memory devices have written to. */
import { shown, VfioError } from '../errors';
import { native } from '../native';
import type { DirtyTracking } from './backend';
import { bitmapBytes, DirtyBitmap } from './dirty-bitmap';
import type { Mapper } from './mapper';
import type { IovaSpan } from './mapping';

export class DirtyTracker {
  readonly #kernel: DirtyTracking;
  readonly #mapper: Mapper;
  readonly #assertReady: () => void;

  /** Made by `AddressSpace`. */
  constructor(kernel: DirtyTracking, mapper: Mapper, assertReady: () => void) {
    this.#kernel = kernel;
    this.#mapper = mapper;
    this.#assertReady = assertReady;
  }

  /** @throws ERR_VFIO_UNSUPPORTED if neither the kernel nor the IOMMU can tell */
  async start(): Promise<void> {
    await this.#mapper.turn.alone(async () => {
      this.#assertReady();
      await this.#kernel.start();
    });
  }

  async stop(): Promise<void> {
    await this.#mapper.turn.alone(async () => {
      this.#assertReady();
      await this.#kernel.stop();
    });
  }

  /**
   * What devices wrote to of a mapping since tracking began or since the last call. type1 knows only
   * what is pinned, and reports all of that each time.
   * @throws ERR_VFIO_INVALID_ARGUMENT (no span, no page size, tracking was not started)
   */
  async read(mapping: IovaSpan, pageSize = native.pageSize): Promise<DirtyBitmap> {
    const { iova, size } = checkedSpan(mapping, pageSize);
    return this.#mapper.turn.share(async () => {
      this.#assertReady();
      const bytes = await this.#kernel.read(iova, BigInt(size), pageSize);
      return new DirtyBitmap({ iova, size, pageSize, bytes });
    });
  }

  /**
   * Take a mapping away from the devices, and tell what they wrote to of it since the last report: on a
   * container up to that moment, under iommufd up to shortly before, so let them come to rest. The
   * memory stays readable until its buffer is closed.
   * @throws ERR_VFIO_INVALID_ARGUMENT if it is no mapping of this space, or a suspended one
   */
  async last(mapping: IovaSpan, pageSize = native.pageSize): Promise<DirtyBitmap> {
    checkedSpan(mapping, pageSize);
    return this.#mapper.change(mapping, async (live) => {
      this.#assertReady();
      const { iova, size } = live;
      if (live.suspended) {
        throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'the mapping is suspended', {
          hint: 'which pages were dirty is lost with suspend(): call last() before it',
        });
      }
      const bytes = await this.#kernel.readAndUnmap(iova, BigInt(size), pageSize);
      this.#mapper.unmapped(live);
      return new DirtyBitmap({ iova, size, pageSize, bytes });
    });
  }
}

/** @throws ERR_VFIO_INVALID_ARGUMENT */
function checkedSpan(mapping: IovaSpan, pageSize: number): IovaSpan {
  const { iova, size } = mapping ?? {};
  bitmapBytes(size, pageSize);
  if (typeof iova === 'bigint' && iova >= 0n && iova < 1n << 64n) return { iova, size };
  throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `no IOVA: ${shown(iova)}`);
}
