/**
 * The addon's typed interface and its loader.
 *
 * The addon makes system calls and nothing else. A call that can fail returns a negative errno
 * (`-EINVAL`), never throws. Nothing that crosses this seam is a pointer: ranges and eventfds are
 * named by numbers that the addon looks up, so a stale or invented number is `-EBADF`.
 *
 * Unit tests replace this module by a fake; nothing above may load the addon in another way.
 */
import { join } from 'node:path';
import { resolve } from 'node-gyp-build';

/** Reads and writes bound to one window of device registers. Offsets count from its start. */
export interface RegisterAccessors {
  /** The value, or -EINVAL (unaligned), -ERANGE (outside), -EBADF (closed), -EIO (device gone). */
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  /** One 64-bit access. The value as a bigint, or a negative errno as a number. */
  read64(offset: number): bigint | number;
  /** Two 32-bit reads, low half first, into `out[0]` and `out[1]`; 0 or a negative errno. */
  read64LoHi(offset: number, out: Uint32Array): number;
  /** One 32-bit read per entry of `offsets` into `out`; all bounds are checked before the first. */
  readBatch32(offsets: Uint32Array, out: Uint32Array): number;
  /** 0 or a negative errno. A value wider than the register is cut to its width. */
  write8(offset: number, value: number): number;
  write16(offset: number, value: number): number;
  write32(offset: number, value: number): number;
  /** One 64-bit access. */
  write64(offset: number, value: bigint): number;
  /** Two 32-bit writes, low half first. */
  write64LoHi(offset: number, lo: number, hi: number): number;
  /** Every later call answers -EBADF. Idempotent. */
  close(): void;
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
  // worker) and are closed when it ends.

  /** open(2) with O_CLOEXEC added. A descriptor or -errno. */
  open(path: string, flags: number): number;
  /** The calling environment takes over a descriptor that a system call returned. */
  adoptFd(fd: number): number;
  /** close(2) of a descriptor this environment owns; -EBADF for any other. */
  close(fd: number): number;
  /** As close, on the thread pool: letting go of a device can include a reset. */
  closeAsync(fd: number): Promise<number>;
  /** pread(2) / pwrite(2). Bytes transferred or -errno. */
  pread(fd: number, bytes: Uint8Array, position: number): number;
  pwrite(fd: number, bytes: Uint8Array, position: number): number;

  // ioctl(2), by the kind of its argument. The result of the system call or -errno.

  ioctlValue(fd: number, request: number, value: number): number;
  /** The argument is the address of an int32. */
  ioctlInt(fd: number, request: number, value: number): number;
  /** The argument is a NUL-terminated string. */
  ioctlString(fd: number, request: number, text: string): number;
  /** The argument is a struct whose first u32 is its size (`argsz`, `size`): -EINVAL if < 4 or > bytes. */
  ioctlStruct(fd: number, request: number, bytes: Uint8Array): number;
  /** As ioctlStruct, on the thread pool; the struct is copied in and, on completion, out. */
  ioctlStructAsync(fd: number, request: number, bytes: Uint8Array): Promise<number>;
  ioctlValueAsync(fd: number, request: number, value: number): Promise<number>;
  /** GET_DEVICE_FD: a descriptor that the environment owns already, or -errno. */
  ioctlStringFdAsync(fd: number, request: number, text: string): Promise<number>;

  // Address ranges: process-wide, reference-counted over environments.

  /** Reserve address space (PROT_NONE). `alignment` is a power of two >= the page size. A range id or -errno. */
  rangeReserve(length: number, alignment: number): number;
  /** Put memory at `offset` of the range; all three numbers are page-aligned. 0 or -errno. */
  rangeMap(
    range: number,
    offset: number,
    length: number,
    memory: number,
    protection: number,
    fd: number,
    fdOffset: number,
  ): number;
  /** Another environment (a worker) takes a reference to a range by its id. 0 or -errno. */
  rangeAttach(range: number): number;
  /** Give up this environment's reference: its views are detached and its accessors closed; the last
   *  reference overlays the range with zero pages, so that escaped views stay harmless and mapped
   *  files are let go at once. Idempotent. */
  rangeRelease(range: number): number;
  /** The address the range starts at, or -EBADF as a number. */
  rangeAddress(range: number): bigint | number;
  /** Length in bytes or -EBADF. */
  rangeLength(range: number): number;
  /** A view of the range's memory, detached at rangeRelease; or -errno. */
  rangeBuffer(range: number, offset: number, length: number): ArrayBuffer | number;
  /** Accessors by volatile loads and stores; or -errno. */
  rangeRegisters(range: number, offset: number, length: number): RegisterAccessors | number;
  /** How often an access to the range raised SIGBUS (the device did not answer), or -EBADF. */
  rangeFaults(range: number): number;
  /** Map all device memory of the range anew after a fault. 0 or -errno. */
  rangeRestore(range: number): number;

  /** Accessors by pread/pwrite of the stated width at `position + offset` of `fd`; or -errno. */
  fdRegisters(fd: number, position: number, length: number): RegisterAccessors | number;

  // eventfd(2), watched by the event loop of the calling environment.

  /** Call `listener` with the counter each time it becomes non-zero. A descriptor or -errno. */
  eventfdOpen(listener: (count: number) => void): number;
  /** An eventfd nobody watches, for eventfdRead. A descriptor or -errno. */
  eventfdCreate(): number;
  /** Add to the counter. 0 or -errno. */
  eventfdWrite(fd: number, count: number): number;
  /** Take the counter without waiting: the count, or 0. */
  eventfdRead(fd: number): number;
  /** Whether the watch keeps the event loop alive (initially yes). */
  eventfdRef(fd: number): number;
  eventfdUnref(fd: number): number;
  /** Stop watching and close. The listener is not called again. Idempotent. */
  eventfdClose(fd: number): number;
}

/** The package's root, from both `src/` (tests) and `dist/src/`. */
function packageRoot(): string {
  const parent = join(__dirname, '..');
  return parent.endsWith('dist') ? join(parent, '..') : parent;
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
