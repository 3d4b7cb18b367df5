/** A device's own log of what it writes to by DMA (VFIO_DEVICE_FEATURE_DMA_LOGGING_*), for its migration. */
import { DirtyBitmap } from '../dma/dirty-bitmap';
import type { IovaSpan } from '../dma/mapping';
import { isErrno, VfioError } from '../errors';
import * as ioctl from '../ioctl/device-features';
import { native } from '../native';
import type { UseDevice } from './operations';

export class DmaLogging {
  readonly #device: string;
  readonly #use: UseDevice;

  /** Made by the device. */
  constructor(device: string, use: UseDevice) {
    this.#device = device;
    this.#use = use;
  }

  /**
   * Log writes to `ranges` (256 always work) from now on. Resolves to the size of the pages that the
   * device tells apart; `pageSize` is a wish.
   * @throws ERR_VFIO_UNSUPPORTED if the device has no log, EINVAL if it is on already or ranges overlap
   */
  async start(ranges: readonly IovaSpan[], pageSize = native.pageSize): Promise<number> {
    const wanted = ranges.map(({ iova, size }) => ({ iova, length: BigInt(size) }));
    try {
      return Number(
        await this.#use((fd) => ioctl.deviceFeatureDmaLoggingStart(fd, pageSize, wanted)),
      );
    } catch (error) {
      if (!isErrno(error, 'ENOTTY')) throw error;
      throw new VfioError('ERR_VFIO_UNSUPPORTED', `${this.#device} has no log of its DMA`, {
        device: this.#device,
        hint: 'the IOMMU may note it instead: addressSpace.dirty',
        cause: error,
      });
    }
  }

  /** What the device wrote to of `range` since the start or the last call. After an error, take all for dirty. */
  async read({ iova, size }: IovaSpan, pageSize = native.pageSize): Promise<DirtyBitmap> {
    const range = { iova, length: BigInt(size) };
    const bytes = await this.#use((fd) => ioctl.deviceFeatureDmaLoggingReport(fd, range, pageSize));
    return new DirtyBitmap({ iova, size, pageSize, bytes });
  }

  async stop(): Promise<void> {
    await this.#use((fd) => ioctl.deviceFeatureDmaLoggingStop(fd));
  }
}
