/**
 * Stands in for src/native.ts where one request at a time is looked at: whoever tests it answers in the
 * kernel's place, and can reach the memory that the request points to.
 */
import { constants } from 'node:os';
import { type RequestName, requests } from '../../src/ioctl/abi/requests';
import type { NativeAddon } from '../../src/native';

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MEMORY_ANONYMOUS = 0;

const PAGE = 4096;
const { EBADF, EINVAL } = constants.errno;

/** The kernel's side of a request: the argument, to read and to change; the result or a negative errno. */
export type Answer = (argument: Uint8Array<ArrayBuffer>) => number;

const answers = new Map<number, Answer>();
const ranges = new Map<number, ArrayBuffer>();
let lastRange = 0;

/** Answer a request from now on. */
export function answer(request: RequestName, by: Answer): void {
  answers.set(requests[request], by);
}

/** The memory at an address, as the kernel reaches it. */
export function memoryAt(address: bigint): Uint8Array<ArrayBuffer> {
  const memory = ranges.get(Number(address >> 32n));
  if (!memory) throw new Error(`nothing at 0x${address.toString(16)}`);
  return new Uint8Array(memory);
}

/** How many buffers are lent now. */
export function rangesLent(): number {
  return ranges.size;
}

/** Descriptors that the library took over. */
export const adopted = new Set<number>();

function adopt(result: number, bytes: Uint8Array, fdAt: number | undefined): number {
  if (result < 0 || fdAt === undefined) return result;
  adopted.add(new DataView(bytes.buffer, bytes.byteOffset).getInt32(fdAt, true));
  return result;
}

function ioctl(fd: number, request: number, bytes: Uint8Array): number {
  const argument = bytes as Uint8Array<ArrayBuffer>;
  const size = new DataView(argument.buffer, argument.byteOffset).getUint32(0, true);
  if (fd !== FD) return -EBADF;
  return size === bytes.length ? (answers.get(request)?.(argument) ?? -EINVAL) : -EINVAL;
}

/** The one descriptor there is. */
export const FD = 3;

/** Descriptors that were closed. */
export const closed: number[] = [];

const addon: Partial<NativeAddon> = {
  pageSize: PAGE,
  duplicateFd: (fd) => fd,
  giveFd: (fd) => {
    adopted.add(fd);
    return fd;
  },
  close: (fd) => {
    closed.push(fd);
    return 0;
  },
  closeAsync: async (fd) => {
    closed.push(fd);
    return 0;
  },
  ioctlStruct: (fd, request, bytes, fdAt) => adopt(ioctl(fd, request, bytes), bytes, fdAt),
  ioctlStructAsync: async (fd, request, bytes, fdAt) => {
    const copy = bytes.slice();
    // The kernel runs on another thread: what is lent has to last until then.
    await new Promise(setImmediate);
    const result = adopt(ioctl(fd, request, copy), copy, fdAt);
    bytes.set(copy);
    return result;
  },
  rangeReserve: (length, alignment) => {
    if (length <= 0 || length % PAGE || alignment !== PAGE) return -EINVAL;
    if (length > 2 ** 30) return -constants.errno.ENOMEM;
    ranges.set(++lastRange, new ArrayBuffer(length));
    return lastRange;
  },
  rangeMap: (id, offset, length, memory) =>
    memory === MEMORY_ANONYMOUS && offset + length === ranges.get(id)?.byteLength ? 0 : -EINVAL,
  rangeAddress: (id) => (ranges.has(id) ? BigInt(id) << 32n : -EBADF),
  rangeBuffer: (id) => ranges.get(id) ?? -EBADF,
  rangeRelease: (id) => {
    const memory = ranges.get(id);
    if (memory) structuredClone(memory, { transfer: [memory] });
    ranges.delete(id);
    return 0;
  },
};
export const native = addon as NativeAddon;
