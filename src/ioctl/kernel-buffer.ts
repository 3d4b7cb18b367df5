/** Memory with an address, for requests whose struct points to more. */
import { check, systemError } from '../errors';
import { MEMORY_ANONYMOUS, native, PROT_READ, PROT_WRITE } from '../native';
import type { FieldTypes, Struct, StructView } from './abi/layout';

/** Zeroed, and gone when the call it was made for is over: copy out of `bytes` what is to stay. */
export interface KernelBuffer {
  readonly address: bigint;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Lend `use` a buffer of `size` bytes, until it returns. @throws ENOMEM */
export function withKernelBuffer<T>(size: number, use: (buffer: KernelBuffer) => T): T {
  const range = reserve(size);
  try {
    return use(map(range, size));
  } finally {
    native.rangeRelease(range);
  }
}

/** As withKernelBuffer, until the promise of `use` settles. */
export async function withKernelBufferAsync<T>(
  size: number,
  use: (buffer: KernelBuffer) => Promise<T>,
): Promise<T> {
  const range = reserve(size);
  try {
    return await use(map(range, size));
  } finally {
    native.rangeRelease(range);
  }
}

/** The structs of an array that begins at the start of `bytes`. */
export function arrayOf<F extends FieldTypes>(
  { bytes }: KernelBuffer,
  element: Struct<F>,
  count: number,
): StructView<F>[] {
  return Array.from({ length: count }, (_, i) => element.view(bytes.subarray(i * element.size)));
}

function wholePages(size: number): number {
  return Math.max(1, Math.ceil(size / native.pageSize)) * native.pageSize;
}

function reserve(size: number): number {
  const range = native.rangeReserve(wholePages(size), native.pageSize);
  return check(range, `reserving ${size} bytes`, { syscall: 'mmap' });
}

function map(range: number, size: number): KernelBuffer {
  const what = `mapping ${size} bytes`;
  const details = { syscall: 'mmap' };
  const protection = PROT_READ | PROT_WRITE;
  check(
    native.rangeMap(range, 0, wholePages(size), MEMORY_ANONYMOUS, protection, -1, 0),
    what,
    details,
  );
  const memory = native.rangeBuffer(range, 0, wholePages(size));
  if (typeof memory === 'number') throw systemError(memory, what, details);
  const address = native.rangeAddress(range);
  if (typeof address === 'number') throw systemError(address, what, details);
  return { address, bytes: new Uint8Array(memory, 0, size) };
}
