/** Memory that can be pinned: memfds, on huge pages if asked for, mapped into ranges of the addon. */
import { constants as fsConstants, fstatSync, readFileSync, statfsSync } from 'node:fs';
import { constants } from 'node:os';
import { check, shown, systemError, VfioError } from '../errors';
import { hints } from '../hints';
import { MEMORY_DEVICE, MEMORY_FILE, native, PROT_READ, PROT_WRITE } from '../native';

const MiB = 1 << 20;
/** Page sizes that x86-64 and arm64 have in common. */
export const hugePageSizes = [2 * MiB, 1024 * MiB] as const;
export type HugePageSize = (typeof hugePageSizes)[number];

/** MFD_HUGETLB, and log2 of the page size above bit 26 (linux/memfd.h). */
const MFD_HUGETLB = 4;
const MFD_HUGE_SHIFT = 26;

/** 'try': fall back to ordinary pages, `buffer.pageSize` tells; 'require': fail instead. */
export type HugePages = 'no' | 'try' | 'require';

export interface Memory {
  /** A range of the addon. */
  readonly range: number;
  /** Whole pages. */
  readonly size: number;
  readonly pageSize: number;
}

/** statfs(2) of hugetlbfs (linux/magic.h). */
const HUGETLBFS_MAGIC = 0x958458f6;

/** What an ArrayBuffer of Node 20 can hold. */
const MAX_BUFFER = 0xffff_ffff;

const wholePages = (size: number, pageSize: number) => Math.ceil(size / pageSize) * pageSize;

/** Zeroed memory of at least `size` bytes. @throws ENOMEM, ERR_VFIO_INVALID_ARGUMENT from 4 GiB on */
export function allocateMemory(
  size: number,
  hugePages: HugePages,
  hugePageSize: HugePageSize = hugePageSizes[0],
): Memory {
  const huge = wholePages(size, hugePageSize);
  assertViewable(hugePages === 'require' ? huge : wholePages(size, native.pageSize));
  if (hugePages !== 'no' && huge <= MAX_BUFFER) {
    const memory = fromMemfd(size, hugePageSize);
    if (typeof memory !== 'number') return memory;
    if (hugePages === 'require') {
      throw systemError(memory, `${size} bytes in huge pages of ${hugePageSize / MiB} MiB`, {
        syscall: 'mmap',
        hint: hints.hugePages(hugePageSize),
      });
    }
  }
  const memory = fromMemfd(size, native.pageSize);
  if (typeof memory !== 'number') return memory;
  throw systemError(memory, `${size} bytes of memory`, { syscall: 'mmap' });
}

function fromMemfd(size: number, pageSize: number): Memory | number {
  const whole = wholePages(size, pageSize);
  const huge = pageSize > native.pageSize;
  const flags = huge ? MFD_HUGETLB | (Math.log2(pageSize) << MFD_HUGE_SHIFT) : 0;
  const fd = native.memfdCreate(whole, flags);
  if (fd < 0) return fd;
  try {
    return mapFile(fd, 0, whole, pageSize, MEMORY_FILE);
  } finally {
    native.close(fd);
  }
}

function mapFile(
  fd: number,
  offset: number,
  size: number,
  pageSize: number,
  kind: number,
): Memory | number {
  const range = native.rangeReserve(size, pageSize);
  if (range < 0) return range;
  const protection = PROT_READ | PROT_WRITE;
  const mapped = native.rangeMap(range, 0, size, kind, protection, fd, offset);
  if (mapped === 0) return { range, size, pageSize };
  native.rangeRelease(range);
  return mapped;
}

/**
 * A part of a file as memory; `offset` and `size` in bytes, multiples of the file's page size.
 * @throws EBADF, EACCES (not open for writing), ENXIO (behind its end), ERR_VFIO_INVALID_ARGUMENT (also
 * from 4 GiB on)
 */
export function fileMemory(fd: number, offset: number, size: number): Memory {
  assertViewable(size);
  const file = openFile(fd);
  if (offset + size > file.length) {
    throw systemError(
      -constants.errno.ENXIO,
      `${size} bytes at ${offset} of a file of ${file.length}`,
      { syscall: 'mmap' },
    );
  }
  // On hugetlbfs, mmap() rounds up to whole pages: what is behind the range would be replaced.
  const { pageSize } = file;
  if (offset % pageSize !== 0 || size % pageSize !== 0) {
    throw new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `${size} bytes at ${offset} are not whole pages of the file`,
      { hint: `the file is on huge pages: offset and size are multiples of ${pageSize}` },
    );
  }
  const path = `/proc/self/fd/${fd}`;
  const own = check(native.open(path, fsConstants.O_RDWR), 'opening the file', {
    syscall: 'open',
    path,
    hint: 'a buffer is memory to be read and written: so must its file be',
  });
  try {
    // Guarded: whoever else has the file may cut it short.
    const memory = mapFile(own, offset, size, pageSize, MEMORY_DEVICE);
    if (typeof memory !== 'number') return memory;
    const full = memory === -constants.errno.ENOSPC;
    throw systemError(memory, `mapping ${size} bytes of a file`, {
      syscall: 'mmap',
      hint: full ? hints.guards() : undefined,
    });
  } finally {
    native.close(own);
  }
}

interface OpenFile {
  readonly length: number;
  readonly pageSize: number;
}

/** What the kernel says of a descriptor that the caller opened. @throws EBADF, EACCES */
function openFile(fd: number): OpenFile {
  const what = `descriptor ${shown(fd)}`;
  if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fff_ffff) {
    throw systemError(-constants.errno.EBADF, what, { syscall: 'fstat' });
  }
  const path = `/proc/self/fd/${fd}`;
  try {
    const { size: length } = fstatSync(fd);
    const { type, bsize } = statfsSync(path);
    const flags = /^flags:\s+([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
    const access = Number.parseInt(flags ?? '2', 8) & (fsConstants.O_WRONLY | fsConstants.O_RDWR);
    if (access === fsConstants.O_RDWR) {
      return { length, pageSize: type === HUGETLBFS_MAGIC ? bsize : native.pageSize };
    }
  } catch (error) {
    const { errno = -constants.errno.EBADF, syscall } = error as NodeJS.ErrnoException;
    const hint = 'it takes an open file, and /proc';
    throw systemError(errno, what, { syscall, path, hint, cause: error });
  }
  throw systemError(-constants.errno.EACCES, `${what} is not open for reading and writing`, {
    path,
    hint: "open it with 'r+': a buffer is memory to be read and written",
  });
}

/** The address of a range of this thread. */
export function addressOf(range: number): bigint {
  const address = native.rangeAddress(range);
  if (typeof address === 'bigint') return address;
  throw systemError(address, 'the address of DMA memory', {});
}

/**
 * Keep the memory of a range present: without an IOMMU, devices use physical addresses. Of huge pages,
 * that is where it stays; ordinary ones the kernel may still move (docs/dma.md).
 */
export function lockMemory(range: number, size: number): void {
  check(native.rangeLock(range), `locking ${size} bytes`, {
    syscall: 'mlock',
    hint: hints.memory(),
  });
}

function assertViewable(whole: number): void {
  if (whole <= MAX_BUFFER) return;
  throw new VfioError(
    'ERR_VFIO_INVALID_ARGUMENT',
    `a buffer has less than 4 GiB, and ${whole} bytes it would be`,
    { hint: 'the longest ArrayBuffer has 2^32 - 1 bytes; take several buffers' },
  );
}

/** @throws ERR_VFIO_INVALID_ARGUMENT unless they are whole pages of the process, and at least one */
export function assertPages(offset: number, size: number): void {
  const whole = (value: number) => Number.isSafeInteger(value) && value % native.pageSize === 0;
  for (const [name, value, least] of [
    ['offset', offset, 0],
    ['size', size, 1],
  ] as const) {
    if (whole(value) && value >= least) continue;
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `${name}: ${shown(value)}`, {
      hint: `a multiple of the page size (${native.pageSize}), from ${least} on`,
    });
  }
}
