/** Memory that can be pinned: memfds, on huge pages if asked for, mapped into ranges of the addon. */
import { constants as fsConstants, fstatSync } from 'node:fs';
import { constants } from 'node:os';
import { check, systemError, VfioError } from '../errors';
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
 * A part of a file as memory; `offset` and `size` in whole pages.
 * @throws EBADF, ENXIO (behind its end), ERR_VFIO_INVALID_ARGUMENT from 4 GiB on
 */
export function fileMemory(fd: number, offset: number, size: number): Memory {
  assertViewable(size);
  const { size: length, blksize } = fstatSync(fd);
  if (offset + size > length) {
    throw systemError(-constants.errno.ENXIO, `${size} bytes at ${offset} of a file of ${length}`, {
      syscall: 'mmap',
    });
  }
  // hugetlbfs has its page size for a block size; other files may have any.
  const pageSize = hugePageSizes.find((huge) => huge === blksize) ?? native.pageSize;
  const path = `/proc/self/fd/${fd}`;
  const own = check(native.open(path, fsConstants.O_RDWR), 'opening the file', {
    syscall: 'open',
    path,
  });
  try {
    // Guarded: whoever else has the file may cut it short.
    const memory = mapFile(own, offset, size, pageSize, MEMORY_DEVICE);
    if (typeof memory !== 'number') return memory;
    throw systemError(memory, `mapping ${size} bytes of a file`, { syscall: 'mmap' });
  } finally {
    native.close(own);
  }
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

export function assertPages(what: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 0 && value % native.pageSize === 0) return;
  throw new VfioError(
    'ERR_VFIO_INVALID_ARGUMENT',
    `${what} is no multiple of the page size (${native.pageSize}): ${value}`,
  );
}
