/** Features of VFIO_DEVICE_FEATURE about DMA: logging of a device's writes, and BARs as dma-bufs. */
import { constants as fsConstants } from 'node:fs';
import { check } from '../errors';
import { native } from '../native';
import * as c from './abi/constants';
import type { FieldTypes, Struct } from './abi/layout';
import * as s from './abi/structs';
import { callStruct, callStructAsync } from './call';
import { readDirtyBitmap } from './dirty-bitmap';
import { arrayOf, withKernelBufferAsync } from './kernel-buffer';

/** The request for a feature, and a view of the struct behind its header. */
function feature<F extends FieldTypes>(flags: number, layout: Struct<F>, extra = 0) {
  const { size: header } = s.vfio_device_feature;
  const arg = s.vfio_device_feature.create(layout.size + extra);
  arg.flags = flags;
  return { arg, data: layout.view(arg.bytes.subarray(header)) };
}

export interface DmaLoggingRange {
  readonly iova: bigint;
  readonly length: bigint;
}

/**
 * Feature 6: have the device itself note which pages in `ranges` it writes to. `pageSize` is a wish;
 * resolves to what the device tracks in. As many ranges as fit in a page (256) always work.
 * @throws ENOTTY if the device cannot, EINVAL if it does so already or for ranges that overlap
 */
export function deviceFeatureDmaLoggingStart(
  fd: number,
  pageSize: number,
  ranges: readonly DmaLoggingRange[],
): Promise<bigint> {
  const element = s.vfio_device_feature_dma_logging_range;
  return withKernelBufferAsync(ranges.length * element.size, async (buffer) => {
    arrayOf(buffer, element, ranges.length).forEach((target, i) => {
      target.iova = ranges[i]!.iova;
      target.length = ranges[i]!.length;
    });
    const { arg, data } = feature(
      c.VFIO_DEVICE_FEATURE_SET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
      s.vfio_device_feature_dma_logging_control,
    );
    data.page_size = BigInt(pageSize);
    data.num_ranges = ranges.length;
    data.ranges = buffer.address;
    await callStructAsync(fd, 'VFIO_DEVICE_FEATURE', arg);
    return data.page_size;
  });
}

/** Feature 7. */
export async function deviceFeatureDmaLoggingStop(fd: number): Promise<void> {
  const arg = s.vfio_device_feature.create();
  arg.flags = c.VFIO_DEVICE_FEATURE_SET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP;
  await callStructAsync(fd, 'VFIO_DEVICE_FEATURE', arg);
}

/**
 * Feature 8: take the log of a range, one bit per `pageSize` (a power of two from 4096, not only the
 * one tracked in) from `iova`, lowest bit first. After an error all memory counts as dirty.
 * @throws EINVAL before deviceFeatureDmaLoggingStart
 */
export function deviceFeatureDmaLoggingReport(
  fd: number,
  { iova, length }: DmaLoggingRange,
  pageSize: number,
): Promise<Uint8Array<ArrayBuffer>> {
  return readDirtyBitmap(length, pageSize, async (bitmap) => {
    const { arg, data } = feature(
      c.VFIO_DEVICE_FEATURE_GET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
      s.vfio_device_feature_dma_logging_report,
    );
    data.iova = iova;
    data.length = length;
    data.page_size = BigInt(pageSize);
    data.bitmap = bitmap.address;
    await callStructAsync(fd, 'VFIO_DEVICE_FEATURE', arg);
  });
}

/** Part of a region, in bytes from its start; multiples of the page size. */
export interface RegionDmaRange {
  readonly offset: bigint;
  readonly length: bigint;
}

/** `O_CLOEXEC`, which Node has no name for; the same on x86-64 and arm64. */
const O_CLOEXEC = 0o2000000;

/**
 * Feature 11: a dma-buf of parts of a BAR, which other devices can be given to reach it
 * (iommuIoasMapFile takes one range). A descriptor that the caller owns.
 * @throws ENOTTY if the kernel cannot (CONFIG_VFIO_PCI_DMABUF), EINVAL for no range or one outside
 */
export function deviceFeatureDmaBuf(
  fd: number,
  regionIndex: number,
  ranges: readonly RegionDmaRange[],
): number {
  const { size } = s.vfio_device_feature_dma_buf;
  const element = s.vfio_region_dma_range;
  const { arg, data } = feature(
    c.VFIO_DEVICE_FEATURE_GET | c.VFIO_DEVICE_FEATURE_DMA_BUF,
    s.vfio_device_feature_dma_buf,
    ranges.length * element.size,
  );
  data.region_index = regionIndex;
  data.open_flags = fsConstants.O_RDWR | O_CLOEXEC;
  data.nr_ranges = ranges.length;
  ranges.forEach(({ offset, length }, i) => {
    const target = element.view(data.bytes.subarray(size + i * element.size));
    target.offset = offset;
    target.length = length;
  });
  const dmaBuf = callStruct(fd, 'VFIO_DEVICE_FEATURE', arg);
  return check(native.giveFd(dmaBuf), 'dma-buf', { syscall: 'fcntl' });
}
