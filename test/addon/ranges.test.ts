import { constants, ftruncateSync } from 'node:fs';
import {
  MEMORY_ANONYMOUS,
  MEMORY_DEVICE,
  MEMORY_FILE,
  native,
  PROT_READ,
  PROT_WRITE,
} from '../../src/native';
import { address, buffer, errno, mappedRange, mappingAt, memoryFile, PAGE } from './support';

const READ_WRITE = PROT_READ | PROT_WRITE;

test('a range is reserved at the alignment asked for, and cannot be touched yet', () => {
  for (const alignment of [PAGE, 2 ** 21, 2 ** 30]) {
    const range = native.rangeReserve(3 * PAGE, alignment);
    expect(range).toBeGreaterThan(0);
    expect(address(range) % BigInt(alignment)).toBe(0n);
    expect(native.rangeLength(range)).toBe(3 * PAGE);
    expect(mappingAt(address(range))?.line).toMatch(/ ---p /);
    expect(native.rangeBuffer(range, 0, PAGE)).toBe(-errno.EFAULT);
    expect(native.rangeRegisters(range, 0, PAGE)).toBe(-errno.EFAULT);
    native.rangeRelease(range);
  }
});

test('rangeReserve refuses what is no size and no alignment', () => {
  for (const [length, alignment] of [
    [0, PAGE],
    [PAGE + 1, PAGE],
    [-PAGE, PAGE],
    [PAGE, 0],
    [PAGE, PAGE / 2],
    [PAGE, 3 * PAGE],
    [PAGE, PAGE + 1],
  ] as const) {
    expect(native.rangeReserve(length, alignment)).toBe(-errno.EINVAL);
  }
  expect(native.rangeReserve(2 ** 52, PAGE)).toBe(-errno.ENOMEM);
});

test('anonymous memory is zero, writable and not copied into a child', () => {
  const range = mappedRange(2, MEMORY_ANONYMOUS);
  const words = new Uint32Array(buffer(range, PAGE, PAGE));
  expect(words.every((word) => word === 0)).toBe(true);
  words[5] = 0x12345678;
  expect(new Uint32Array(buffer(range, 0, 2 * PAGE))[PAGE / 4 + 5]).toBe(0x12345678);
  const { line, flags } = mappingAt(address(range)) ?? { line: '', flags: [] };
  expect(line).toMatch(/ rw-s /);
  expect(flags).toContain('dc'); // MADV_DONTFORK
  native.rangeRelease(range);
});

test('file memory is shared with the file', () => {
  const fd = memoryFile(3 * PAGE);
  const range = native.rangeReserve(2 * PAGE, PAGE);
  expect(native.rangeMap(range, PAGE, PAGE, MEMORY_FILE, READ_WRITE, fd, 2 * PAGE)).toBe(0);
  new Uint8Array(buffer(range, PAGE, PAGE)).set([1, 2, 3], 10);
  const bytes = new Uint8Array(3);
  expect(native.pread(fd, bytes, 2 * PAGE + 10)).toBe(3);
  expect([...bytes]).toEqual([1, 2, 3]);
  expect(mappingAt(address(range) + BigInt(PAGE))?.flags).toContain('dc');
  native.rangeRelease(range);
  native.close(fd);
});

test('rangeMap checks bounds, alignment, kind, protection, descriptor and id', () => {
  const fd = memoryFile(4 * PAGE);
  const range = native.rangeReserve(2 * PAGE, PAGE);
  const map = (
    offset: number,
    length: number,
    memory = MEMORY_FILE,
    protection = READ_WRITE,
    from = fd,
    fdOffset = 0,
    id = range,
  ) => native.rangeMap(id, offset, length, memory, protection, from, fdOffset);
  expect(map(0, 3 * PAGE)).toBe(-errno.ERANGE);
  expect(map(2 * PAGE, PAGE)).toBe(-errno.ERANGE);
  expect(map(2 ** 52, PAGE)).toBe(-errno.ERANGE);
  expect(map(1, PAGE)).toBe(-errno.EINVAL);
  expect(map(0, 1)).toBe(-errno.EINVAL);
  expect(map(0, 0)).toBe(-errno.EINVAL);
  expect(map(0, PAGE, 3)).toBe(-errno.EINVAL);
  expect(map(0, PAGE, MEMORY_FILE, 0)).toBe(-errno.EINVAL);
  expect(map(0, PAGE, MEMORY_FILE, READ_WRITE | 4)).toBe(-errno.EINVAL);
  expect(map(0, PAGE, MEMORY_FILE, READ_WRITE, fd, 12)).toBe(-errno.EINVAL);
  expect(map(0, PAGE, MEMORY_FILE, READ_WRITE, -1)).toBe(-errno.EBADF);
  expect(map(0, PAGE, MEMORY_FILE, READ_WRITE, fd, 0, 1e9)).toBe(-errno.EBADF);
  expect(map(0, PAGE)).toBe(0);
  expect(map(0, 2 * PAGE)).toBe(-errno.EEXIST);
  expect(map(0, PAGE, MEMORY_ANONYMOUS)).toBe(-errno.EEXIST);
  expect(map(PAGE, PAGE)).toBe(0);
  native.rangeRelease(range);
  native.close(fd);
});

test('memory beyond the end of a file is refused, because touching it would kill the process', () => {
  const fd = memoryFile(PAGE);
  const range = native.rangeReserve(2 * PAGE, PAGE);
  const map = (length: number, fdOffset: number) =>
    native.rangeMap(range, 0, length, MEMORY_FILE, READ_WRITE, fd, fdOffset);
  expect(map(2 * PAGE, 0)).toBe(-errno.ENXIO);
  expect(map(PAGE, PAGE)).toBe(-errno.ENXIO);
  ftruncateSync(fd, 2 * PAGE);
  expect(map(2 * PAGE, 0)).toBe(0);
  native.rangeRelease(range);
  native.close(fd);
});

test('a map that the kernel refuses leaves the addresses reserved', () => {
  const range = native.rangeReserve(3 * PAGE, PAGE);
  const readOnly = native.open('/proc/self/exe', constants.O_RDONLY);
  const unmappable = native.eventfdCreate();
  const map = (memory: number, fd: number) =>
    native.rangeMap(range, PAGE, PAGE, memory, READ_WRITE, fd, 0);
  expect(map(MEMORY_FILE, readOnly)).toBe(-errno.EACCES);
  expect(map(MEMORY_DEVICE, unmappable)).toBe(-errno.ENODEV);
  expect(mappingAt(address(range) + BigInt(PAGE))?.line).toMatch(/ ---p /);
  expect(native.rangeMap(range, PAGE, PAGE, MEMORY_ANONYMOUS, READ_WRITE, -1, 0)).toBe(0);
  native.rangeRelease(range);
  native.close(readOnly);
  native.eventfdClose(unmappable);
});

test('a view is only given of memory that can be read and written everywhere', () => {
  const range = native.rangeReserve(4 * PAGE, PAGE);
  native.rangeMap(range, 0, PAGE, MEMORY_ANONYMOUS, READ_WRITE, -1, 0);
  native.rangeMap(range, PAGE, PAGE, MEMORY_ANONYMOUS, PROT_READ, -1, 0);
  native.rangeMap(range, 3 * PAGE, PAGE, MEMORY_ANONYMOUS, READ_WRITE, -1, 0);
  expect(native.rangeBuffer(range, 0, 2 * PAGE)).toBe(-errno.EACCES);
  expect(native.rangeBuffer(range, 2 * PAGE, 8)).toBe(-errno.EFAULT);
  expect(native.rangeBuffer(range, 2 * PAGE, 2 * PAGE)).toBe(-errno.EFAULT);
  expect(native.rangeBuffer(range, 4 * PAGE - 4, 8)).toBe(-errno.ERANGE);
  expect(native.rangeBuffer(range, 0, 0)).toBe(-errno.EINVAL);
  expect(buffer(range, 4 * PAGE - 4, 4).byteLength).toBe(4);
  native.rangeRelease(range);
});

test('a view has at most the length that every Node allows', () => {
  const range = native.rangeReserve(2 ** 33, PAGE);
  expect(native.rangeMap(range, 0, 2 ** 33, MEMORY_ANONYMOUS, READ_WRITE, -1, 0)).toBe(0);
  expect(native.rangeBuffer(range, 0, 2 ** 32)).toBe(-errno.E2BIG);
  expect(buffer(range, 2 ** 32, 2 ** 32 - 1).byteLength).toBe(2 ** 32 - 1);
  native.rangeRelease(range);
});

test('several views share one memory', () => {
  const range = mappedRange(1, MEMORY_ANONYMOUS);
  const views = Array.from({ length: 20 }, () => new Uint8Array(buffer(range, 0, PAGE)));
  views[3]![7] = 99;
  expect(views.every((view) => view[7] === 99)).toBe(true);
  native.rangeRelease(range);
});

test('release detaches the views and ends the id', () => {
  const range = mappedRange(1, MEMORY_ANONYMOUS);
  const memory = buffer(range, 0, PAGE);
  const words = new Uint32Array(memory, 16);
  expect(native.rangeRelease(range)).toBe(0);
  expect(memory.byteLength).toBe(0);
  expect(words.length).toBe(0);
  expect(words[0]).toBeUndefined();
  words[0] = 1;
  expect(native.rangeBuffer(range, 0, PAGE)).toBe(-errno.EBADF);
  expect(native.rangeRegisters(range, 0, PAGE)).toBe(-errno.EBADF);
  expect(native.rangeMap(range, 0, PAGE, 0, 3, -1, 0)).toBe(-errno.EBADF);
  for (const call of ['rangeAddress', 'rangeLength', 'rangeFaults', 'rangeRestore'] as const) {
    expect(native[call](range)).toBe(-errno.EBADF);
  }
  expect(native.rangeAttach(range)).toBe(-errno.EBADF);
});

test('release is idempotent, but not of a range that never was', () => {
  const range = mappedRange(1, MEMORY_ANONYMOUS);
  expect(native.rangeRelease(range)).toBe(0);
  expect(native.rangeRelease(range)).toBe(0);
  expect(native.rangeRelease(range + 1000)).toBe(-errno.EBADF);
  expect(native.rangeRelease(0)).toBe(-errno.EBADF);
});

test('release lets go of the file at once, while the addresses stay taken by zero pages', () => {
  const fd = memoryFile(2 * PAGE);
  const range = mappedRange(2, MEMORY_FILE, fd);
  const view = new Uint8Array(buffer(range, 0, PAGE)); // keeps the addresses
  const start = address(range);
  expect(mappingAt(start)?.line).toMatch(/ rw-s .*\(deleted\)$/);
  native.rangeRelease(range);
  const { line, flags } = mappingAt(start) ?? { line: '', flags: [] };
  expect(line).toMatch(/ rw-p 00000000 00:00 0/);
  expect(flags).toContain('dc');
  expect(view.length).toBe(0);
  native.close(fd);
});

test('a range without views and accessors is unmapped by its release', () => {
  const range = mappedRange(1, MEMORY_ANONYMOUS);
  const start = address(range);
  native.rangeRelease(range);
  expect(mappingAt(start)?.line ?? '').not.toMatch(/ rw-s /);
});

test('a copy of a view is ordinary memory', () => {
  const range = mappedRange(1, MEMORY_ANONYMOUS);
  const memory = buffer(range, 0, PAGE);
  new Uint8Array(memory)[0] = 42;
  const copy = structuredClone(memory);
  native.rangeRelease(range);
  expect(new Uint8Array(copy)[0]).toBe(42);
});

test('a view cannot be transferred to another environment', () => {
  const range = mappedRange(1, MEMORY_ANONYMOUS);
  const memory = buffer(range, 0, PAGE);
  let clone = new ArrayBuffer(0);
  try {
    clone = structuredClone(memory, { transfer: [memory] }); // Node 20 copies, later ones throw
  } catch {}
  native.rangeRelease(range);
  new Uint8Array(clone).fill(1);
});

// Node 22 on.
const transfer = (ArrayBuffer.prototype as { transfer?: () => ArrayBuffer }).transfer;
if (transfer === undefined) console.warn('no ArrayBuffer.prototype.transfer: its test is skipped');
(transfer ? test : test.skip)('a view that was transferred reads zeros after release', () => {
  const range = mappedRange(1, MEMORY_ANONYMOUS);
  const memory = buffer(range, 0, PAGE);
  const escaped = new Uint8Array(transfer!.call(memory));
  escaped[0] = 42;
  expect(memory.byteLength).toBe(0);
  expect(new Uint8Array(buffer(range, 0, PAGE))[0]).toBe(42);
  native.rangeRelease(range);
  expect(escaped[0]).toBe(0);
  escaped[0] = 1;
  expect(escaped[0]).toBe(1);
});

test('an environment has one reference, however often it attaches', () => {
  const range = mappedRange(1, MEMORY_ANONYMOUS);
  expect(native.rangeAttach(range)).toBe(0);
  expect(native.rangeAttach(range)).toBe(0);
  expect(native.rangeRelease(range)).toBe(0);
  expect(native.rangeLength(range)).toBe(-errno.EBADF);
});
