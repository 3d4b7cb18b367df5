/** The bitmap of dirty pages that type1, iommufd and devices with DMA logging all fill alike. */
import { VfioError } from '../errors';
import { type KernelBuffer, withKernelBufferAsync } from './kernel-buffer';

const U64_END = 1n << 64n;

function isPowerOfTwo(n: number): boolean {
  return Number.isSafeInteger(n) && n > 0 && (BigInt(n) & (BigInt(n) - 1n)) === 0n;
}

/** The kernel writes whole u64s. */
function bitmapSize(length: bigint, pageSize: number): number {
  // The kernel takes the lowest bit of a page size for its logarithm: with any other bit set, it
  // would write beyond a bitmap sized by division.
  if (!isPowerOfTwo(pageSize) || length <= 0n || length >= U64_END) {
    throw new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `no dirty bitmap of ${length} bytes in pages of ${pageSize}`,
      { hint: 'the page size is a power of two, the length from 1 to 2^64 - 1' },
    );
  }
  const pages = (length - 1n) / BigInt(pageSize) + 1n;
  return Number((pages + 63n) / 64n) * 8;
}

/**
 * Lend `fill` a zeroed bitmap of one bit per `pageSize` of `length` bytes, and resolve to a copy of
 * what it made of it: bit n % 8 of byte n / 8 is page n.
 */
export async function readDirtyBitmap(
  length: bigint,
  pageSize: number,
  fill: (bitmap: KernelBuffer) => Promise<void>,
): Promise<Uint8Array<ArrayBuffer>> {
  return withKernelBufferAsync(bitmapSize(length, pageSize), async (bitmap) => {
    await fill(bitmap);
    return bitmap.bytes.slice();
  });
}
