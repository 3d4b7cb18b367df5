/** Files as memory: what the kernel says of a descriptor decides, and nothing of a refused one stays. */
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assertPages, fileMemory } from '../../src/dma/memory';
import { native } from '../../src/native';
import { memoryFile, PAGE } from './support';

const MFD_HUGETLB = 4;
const HUGE_2MB = 21 << 26;
const MiB = 1 << 20;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'file-memory-'));
  path = join(directory, 'file');
  writeFileSync(path, Buffer.alloc(4 * PAGE));
});

afterEach(() => rmSync(directory, { recursive: true }));

test('on hugetlbfs, offset and size are in its pages, for mmap() would take what is behind', () => {
  const fd = native.memfdCreate(4 * MiB, MFD_HUGETLB | HUGE_2MB);
  expect(fd).toBeGreaterThan(0);
  for (const [offset, size] of [
    [0, PAGE],
    [0, 2 * MiB + PAGE],
    [PAGE, 2 * MiB],
    [2 * MiB, MiB],
  ] as const) {
    expect(() => fileMemory(fd, offset, size)).toThrow(
      expect.objectContaining({
        code: 'ERR_VFIO_INVALID_ARGUMENT',
        hint: expect.stringContaining(`${2 * MiB}`),
      }),
    );
  }
  native.close(fd);
});

test('a file of ordinary pages is taken in those, wherever its blocks are larger', () => {
  const fd = memoryFile(4 * PAGE);
  const { range, size, pageSize } = fileMemory(fd, PAGE, 2 * PAGE);
  expect([size, pageSize, native.rangeLength(range)]).toEqual([2 * PAGE, PAGE, 2 * PAGE]);
  native.rangeRelease(range);
  native.close(fd);
});

test('a descriptor that is none is EBADF', () => {
  const closed = openSync(path, 'r+');
  closeSync(closed);
  for (const fd of [-1, closed, 1.5, Number.NaN, 2 ** 31, 2 ** 40, '3', undefined, null, 3n]) {
    expect(() => fileMemory(fd as number, 0, PAGE)).toThrow(code('EBADF'));
  }
});

test('one that is not open for reading and writing stays so, also for root', () => {
  for (const flags of ['r', 'a'] as const) {
    const fd = openSync(path, flags);
    expect(() => fileMemory(fd, 0, PAGE)).toThrow(
      expect.objectContaining({ code: 'EACCES', hint: expect.stringContaining("'r+'") }),
    );
    closeSync(fd);
  }
});

test('behind the end of the file is ENXIO, and what has no length has no memory', () => {
  truncateSync(path, 2 * PAGE);
  const fd = openSync(path, 'r+');
  expect(() => fileMemory(fd, PAGE, 2 * PAGE)).toThrow(code('ENXIO'));
  closeSync(fd);
  const device = openSync('/dev/zero', 'r+');
  expect(() => fileMemory(device, 0, PAGE)).toThrow(code('ENXIO'));
  closeSync(device);
});

test.each([
  [0, 0],
  [0, 100],
  [-PAGE, PAGE],
  [1, PAGE],
  [0, -PAGE],
  [0, Number.NaN],
  [0, 2 ** 53],
])('%i and %i are no pages', (offset, size) => {
  expect(() => assertPages(offset, size)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
});
