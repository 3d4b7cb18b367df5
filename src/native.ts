/**
 * The addon's typed interface and its loader.
 *
 * The addon makes system calls and nothing else. A call that can fail returns a negative errno
 * (`-EINVAL`), never throws. Nothing that crosses this seam is a pointer: ranges and descriptors
 * are named by numbers that the addon looks up, so a stale or invented number is `-EBADF`. Nothing
 * is converted either: an argument of another type, a fraction, NaN, a negative size or an array
 * that is detached is `-EINVAL`.
 *
 * Unit tests replace this module by a fake; nothing above may load the addon in another way.
 */
import { resolve } from 'node-gyp-build';
import { packageRoot } from './package-root';

/**
 * Reads and writes bound to one window of device registers. Offsets count from its start. Each call
 * makes exactly one access of the stated width, in program order with respect to DMA memory: a
 * write comes after earlier stores, a read before later loads. The functions do not need `this`.
 */
export interface RegisterAccessors {
  /**
   * The value, or -EINVAL (unaligned), -ERANGE (outside), -EBADF (closed), -EACCES (memory mapped
   * without the right), -EIO (the device did not answer). After -EIO every access to the range
   * answers -EIO until rangeRestore, so that no poison is taken for the device's word.
   */
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  /** One 64-bit access. The value as a bigint, or a negative errno as a number. */
  read64(offset: number): bigint | number;
  /** Two 32-bit reads, low half first, into `out[0]` and `out[1]`; 0 or a negative errno. */
  read64LoHi(offset: number, out: Uint32Array): number;
  /** One 32-bit read per entry of `offsets` into `out`; all bounds are checked before the first.
   *  0 or a negative errno. */
  readBatch32(offsets: Uint32Array, out: Uint32Array): number;
  /** 0 or a negative errno. `value` is an integer of that width, of either sign: -1 is all ones. */
  write8(offset: number, value: number): number;
  write16(offset: number, value: number): number;
  write32(offset: number, value: number): number;
  /** One 64-bit access. `value` is of 64 bits, of either sign: -1n is all ones. */
  write64(offset: number, value: bigint): number;
  /** Two 32-bit writes, low half first. */
  write64LoHi(offset: number, lo: number, hi: number): number;
  /** Every later call answers -EBADF. Idempotent. */
  close(): void;
}

/** The addon's own: 32-bit accesses also by an exchange in memory, which costs less than arguments and results. */
export interface NativeAccessors extends RegisterAccessors {
  /** A u32, the offset; a u32, the value; an i32, 0 or a negative errno. */
  readonly exchange: ArrayBuffer;
  /** As read32, with its argument and results in `exchange`. */
  exchangeRead32(): void;
  exchangeWrite32(): void;
}

/** `PROT_READ`, `PROT_WRITE` of mmap(2). */
export const PROT_READ = 1;
export const PROT_WRITE = 2;

/** Memory behind a part of a range. */
export const MEMORY_ANONYMOUS = 0;
/** `MAP_SHARED` of a file descriptor: a BAR, a memfd, a file. */
export const MEMORY_FILE = 1;
/** A BAR or other device memory: as MEMORY_FILE, and guarded against SIGBUS. */
export const MEMORY_DEVICE = 2;

export interface NativeAddon {
  /** sysconf(_SC_PAGESIZE). */
  readonly pageSize: number;

  // Files. Descriptors opened or adopted here belong to the calling environment (main thread or
  // worker) and are closed when it ends. Every call that takes a descriptor takes only those:
  // -EBADF for any other.

  /** open(2) with O_CLOEXEC added; a file it creates has mode 0600. A descriptor or -errno. */
  open(path: string, flags: number): number;
  /** A duplicate (F_DUPFD_CLOEXEC) of a descriptor that somebody else owns; theirs stays theirs. A
   *  descriptor or -errno. */
  duplicateFd(fd: number): number;
  /** Sets FD_CLOEXEC, and does not close the descriptor any more when the environment ends: it is the
   *  caller's. The descriptor or -errno. */
  giveFd(fd: number): number;
  /** close(2). While an asynchronous ioctl runs on it, the descriptor is closed when that returns;
   *  it is unusable at once. 0 or -EBADF. */
  close(fd: number): number;
  /** As close, on the thread pool: letting go of a device can include a reset. Resolves when the
   *  kernel has the descriptor back, behind all that is under way on it. */
  closeAsync(fd: number): Promise<number>;
  /** pread(2) / pwrite(2). Bytes transferred or -errno. */
  pread(fd: number, bytes: Uint8Array, position: number): number;
  pwrite(fd: number, bytes: Uint8Array, position: number): number;

  /** memfd_create(2) with MFD_CLOEXEC and `flags` (MFD_HUGETLB, ...) of `length` bytes. A descriptor or -errno. */
  memfdCreate(length: number, flags: number): number;

  // ioctl(2), by the kind of its argument. The result of the system call or -errno. The kernel works
  // on a padded copy of the argument, so that it can never reach beyond the array.

  /** `value` is at most 0xffff: no address of this process, should the request take a pointer. */
  ioctlValue(fd: number, request: number, value: number): number;
  /** The argument is the address of an int32. */
  ioctlInt(fd: number, request: number, value: number): number;
  /** The argument is a NUL-terminated string. */
  ioctlString(fd: number, request: number, text: string): number;
  /** The argument is a struct whose first u32 is its size (`argsz`, `size`): -EINVAL if < 4 or
   *  > `bytes.byteLength`. Copied back also after an error. `fdAt`: where in it the kernel puts a
   *  descriptor, which the environment owns then; negative: none. */
  ioctlStruct(fd: number, request: number, bytes: Uint8Array, fdAt?: number): number;
  /** A function that makes this request each time it is called, with the argument as it is now: the
   *  result, or -errno; nothing is copied back. Or -errno as ioctlStruct. */
  ioctlPrepare(fd: number, request: number, bytes: Uint8Array): (() => number) | number;
  /** As ioctlStruct, on the thread pool; the struct is copied in and, on completion, out, unless
   *  the array was detached or resized meanwhile. Never rejects. */
  ioctlStructAsync(fd: number, request: number, bytes: Uint8Array, fdAt?: number): Promise<number>;
  ioctlValueAsync(fd: number, request: number, value: number): Promise<number>;
  /** GET_DEVICE_FD: a descriptor that the environment owns already, or -errno. */
  ioctlStringFdAsync(fd: number, request: number, text: string): Promise<number>;

  // Address ranges: process-wide, reference-counted over environments.

  /** Reserve address space (PROT_NONE) of a multiple of the page size. `alignment` is a power of two
   *  >= the page size. A range id, which is never used again, or -errno. */
  rangeReserve(length: number, alignment: number): number;
  /**
   * Put memory at `offset` of the range; offsets and length are page-aligned, `protection` is not 0.
   * `fd` and `fdOffset` are ignored for MEMORY_ANONYMOUS. 0 or -errno; -EEXIST if a page of it has
   * memory already, -ERANGE outside of the range, -ENXIO for MEMORY_FILE beyond the end of a file,
   * -EINVAL for a part of a huge page of hugetlbfs.
   */
  rangeMap(
    range: number,
    offset: number,
    length: number,
    memory: number,
    protection: number,
    fd: number,
    fdOffset: number,
  ): number;
  /** Another environment (a worker) takes a reference to a range by its id; an environment has one
   *  at most. 0 or -errno. */
  rangeAttach(range: number): number;
  /** Give up this environment's reference: its views are detached and its accessors closed; the last
   *  reference overlays the range with zero pages, so that escaped views stay harmless and mapped
   *  files are let go at once. The addresses are free again when all views are collected; those of a
   *  view that its environment never released, when the process ends. Idempotent. */
  rangeRelease(range: number): number;
  /** mlock(2) all memory of the range: present, and not swapped. 0 or -errno. */
  rangeLock(range: number): number;
  /** The address the range starts at, or -EBADF as a number. */
  rangeAddress(range: number): bigint | number;
  /** Length in bytes or -EBADF. */
  rangeLength(range: number): number;
  /** A view of the range's memory, detached at rangeRelease; or -errno: -EFAULT if a page of it has
   *  no memory, -EACCES if one is not readable and writable, -E2BIG from 4 GiB (a limit of Node).
   *  Never pass it to markAsUntransferable: it then stays, as zeros, and from Node 24 on, Node aborts
   *  when the thread ends. */
  rangeBuffer(range: number, offset: number, length: number): ArrayBuffer | number;
  /** Accessors by volatile loads and stores; or -errno: -EFAULT if a page of it has no memory. */
  rangeRegisters(range: number, offset: number, length: number): NativeAccessors | number;
  /** How often an access to the range raised SIGBUS (the device did not answer), or -EBADF. The page
   *  touched, and what follows it, reads as 0xff from then on. */
  rangeFaults(range: number): number;
  /** A view of one byte, detached at rangeRelease: not 0 while device memory of the range is lost to a
   *  fault, until rangeRestore. For those who touch the range without register accessors. Or -errno;
   *  -ENXIO without device memory. */
  rangeLost(range: number): ArrayBuffer | number;
  /** Map all device memory of the range anew after a fault. 0 or -errno; -EBADF if a descriptor it
   *  was mapped from is closed. */
  rangeRestore(range: number): number;

  /** Has SIGBUS come to the addon again, after somebody else took the signal. Nothing without device
   *  memory. 0. */
  sigbusRearm(): number;

  // Farewells: what is done when the calling environment ends, however it ends, before its memory
  // and descriptors go; on files that are still open then. An id for farewellCancel, or -errno.

  /** Clear the bits of `mask` in the u16 at `position` of `fd`; all of these come first. */
  farewellClearBits(fd: number, position: number, mask: number): number;
  /** Make a request as ioctlStruct does. `memory` lives until farewellCancel, or the end. */
  farewellRequest(fd: number, request: number, bytes: Uint8Array, memory: Uint8Array): number;
  /** 0 or -errno. */
  farewellCancel(id: number): number;

  /** Where the memory of an array on a SharedArrayBuffer is; -EINVAL for any other. */
  memoryAddress(memory: Uint8Array): bigint | number;

  /** Accessors by pread/pwrite of the stated width at `position + offset` of `fd`; or -errno. */
  fdRegisters(fd: number, position: number, length: number): NativeAccessors | number;

  // eventfd(2), watched by the event loop of the calling environment.

  /** Call `listener` with the counter each time it becomes non-zero; the counter is zero again by
   *  then. What it throws becomes an uncaughtException. A descriptor or -errno. */
  eventfdOpen(listener: (count: number) => void): number;
  /** An eventfd nobody watches, for eventfdRead. A descriptor or -errno. */
  eventfdCreate(): number;
  /** Add to the counter. 0 or -errno; -EAGAIN if the sum would not fit in 64 bits. */
  eventfdWrite(fd: number, count: number): number;
  /** Take the counter without waiting: the count, or 0. */
  eventfdRead(fd: number): number;
  /** Whether the watch keeps the event loop alive (initially yes). */
  eventfdRef(fd: number): number;
  eventfdUnref(fd: number): number;
  /** Stop watching and close; the listener is not called again. 0, also if it was closed before
   *  (but the number may name another file by then). */
  eventfdClose(fd: number): number;
}

function load(): NativeAddon {
  const root = packageRoot();
  try {
    // VFIO_ADDON: another build of the addon, such as the one with sanitizers.
    const path = process.env.VFIO_ADDON ?? resolve(root);
    return require(path) as NativeAddon;
  } catch (cause) {
    throw new Error(
      [
        `vfio: the native addon for ${process.platform}-${process.arch} could not be loaded from ${root}`,
        'Possible solutions:',
        '- npm rebuild vfio (needs python3, make and g++)',
        '- reinstall without --ignore-scripts and --no-optional',
        '- vfio works on Linux only',
      ].join('\n'),
      { cause },
    );
  }
}

export const native: NativeAddon = load();

// A SIGBUS listener of the program puts Node's handler in place of the addon's, and its removal the
// default, which ends the process. Node has done so when these listeners are called.
for (const event of ['newListener', 'removeListener'] as const) {
  process.on(event, (signal) => {
    if (signal === 'SIGBUS') native.sigbusRearm();
  });
}
