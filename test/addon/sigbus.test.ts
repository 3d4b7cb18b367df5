/**
 * A memory file cut short stands for a device that stops to answer: touching a page behind its end
 * raises SIGBUS, as touching a BAR does while memory decoding is off.
 */
import { ftruncateSync, readFileSync } from 'node:fs';
import { MEMORY_ANONYMOUS, MEMORY_DEVICE, MEMORY_FILE, native } from '../../src/native';
import {
  address,
  buffer,
  errno,
  given,
  mappedRange,
  mappingAt,
  memoryFile,
  message,
  PAGE,
  registers,
  runChild,
  startWorker,
} from './support';

let fd: number;
let range: number;

beforeEach(() => {
  fd = memoryFile(2 * PAGE);
  range = mappedRange(2, MEMORY_DEVICE, fd);
});

afterEach(() => {
  native.rangeRelease(range);
  native.close(fd);
});

const poisoned = () =>
  readFileSync('/proc/self/maps', 'utf8').match(/ rw.*vfio-poison/g)?.length ?? 0;
const unplug = () => ftruncateSync(fd, 0);
const replug = () => ftruncateSync(fd, 2 * PAGE);

test('a device that answers has no faults', () => {
  const at = registers(range, 0, 2 * PAGE);
  expect(at.write32(PAGE, 1)).toBe(0);
  expect(at.read32(PAGE)).toBe(1);
  expect(native.rangeFaults(range)).toBe(0);
  expect(native.rangeRestore(range)).toBe(0);
  expect(at.read32(PAGE)).toBe(1);
});

test.each(['read8', 'read16', 'read32', 'read64'] as const)(
  '%s of a device that does not answer is -EIO',
  (read) => {
    const at = registers(range, 0, 2 * PAGE);
    unplug();
    expect(at[read](PAGE + 8)).toBe(-errno.EIO);
    expect(native.rangeFaults(range)).toBe(1);
  },
);

test('a write to a device that does not answer is -EIO', () => {
  for (const write of [
    (at = registers(range, 0, PAGE)) => at.write8(0, 1),
    (at = registers(range, 0, PAGE)) => at.write16(0, 1),
    (at = registers(range, 0, PAGE)) => at.write32(0, 1),
    (at = registers(range, 0, PAGE)) => at.write64(0, 1n),
    (at = registers(range, 0, PAGE)) => at.write64LoHi(0, 1, 1),
  ]) {
    unplug();
    expect(write()).toBe(-errno.EIO);
    replug();
    expect(native.rangeRestore(range)).toBe(0);
  }
  expect(native.rangeFaults(range)).toBe(5);
});

test('after a fault all accessors of the range answer -EIO, until it is restored', () => {
  const at = registers(range, 0, PAGE);
  const other = registers(range, PAGE, PAGE);
  other.write32(0, 7);
  unplug();
  expect(at.read32(0)).toBe(-errno.EIO);
  replug();
  expect(at.read32(0)).toBe(-errno.EIO); // the page of 0xff, not the device
  expect(at.write32(0, 5)).toBe(-errno.EIO);
  expect(other.read32(0)).toBe(-errno.EIO);
  expect(native.rangeRestore(range)).toBe(0);
  expect(at.read32(0)).toBe(0);
  expect(at.write32(0, 5)).toBe(0);
  expect(other.read32(0)).toBe(0);
  expect(native.rangeFaults(range)).toBe(1);
});

test('after a fault no access is made, not even to a page that still answers', () => {
  const at = registers(range, 0, 2 * PAGE);
  ftruncateSync(fd, PAGE);
  expect(at.read32(PAGE)).toBe(-errno.EIO);
  expect(at.write32(0, 5)).toBe(-errno.EIO);
  const word = new Uint8Array(4);
  native.pread(fd, word, 0);
  expect([...word]).toEqual([0, 0, 0, 0]);
});

test('a fault ends a batch', () => {
  const at = registers(range, 0, 2 * PAGE);
  ftruncateSync(fd, PAGE);
  const out = new Uint32Array(3).fill(7);
  expect(at.readBatch32(Uint32Array.of(0, PAGE, 4), out)).toBe(-errno.EIO);
  expect([...out]).toEqual([0, 7, 7]);
  const pair = new Uint32Array(2).fill(7);
  expect(at.read64LoHi(PAGE, pair)).toBe(-errno.EIO);
  expect([...pair]).toEqual([7, 7]);
});

test('a view of a device that does not answer reads ones, page by page', () => {
  const words = new Uint32Array(buffer(range, 0, 2 * PAGE));
  words[0] = 1;
  ftruncateSync(fd, PAGE);
  expect(words[PAGE / 4]).toBe(0xffffffff);
  expect(words[PAGE / 4 + 100]).toBe(0xffffffff);
  expect(words[0]).toBe(1);
  expect(native.rangeFaults(range)).toBe(1);
  expect(mappingAt(address(range) + BigInt(PAGE))?.flags).toContain('dc');
});

test('a range is restored again and again', () => {
  const at = registers(range, 0, PAGE);
  for (let round = 1; round <= 50; round++) {
    unplug();
    expect(at.read32(0)).toBe(-errno.EIO);
    expect(native.rangeRestore(range)).toBe(0);
    expect(at.read32(0)).toBe(-errno.EIO); // restored, and still no answer
    replug();
    expect(native.rangeRestore(range)).toBe(0);
    expect(at.read32(0)).toBe(0);
    expect(native.rangeFaults(range)).toBe(2 * round);
  }
});

test('a range whose descriptor is closed cannot be restored, and is not kept open by trying', () => {
  const at = registers(range, 0, PAGE);
  unplug();
  expect(at.read32(0)).toBe(-errno.EIO);
  native.close(fd);
  expect(native.rangeRestore(range)).toBe(-errno.EBADF);
  expect(at.read32(0)).toBe(-errno.EIO);
});

test('any number of ranges is guarded', () => {
  const ranges = Array.from({ length: 3000 }, () => mappedRange(1, MEMORY_DEVICE, fd));
  const windows = ranges.map((each) => registers(each, 0, PAGE));
  unplug();
  expect(new Set(windows.map((at) => at.read32(0)))).toEqual(new Set([-errno.EIO]));
  for (const used of ranges) native.rangeRelease(used);
  replug();
  const again = mappedRange(1, MEMORY_DEVICE, fd);
  const at = registers(again, 0, PAGE);
  expect([native.rangeFaults(again), at.read32(0)]).toEqual([0, 0]);
  native.rangeRelease(again);
});

test('a fault takes one mapping, however many pages are touched', () => {
  const pages = 64;
  const long = memoryFile(pages * PAGE);
  const views = mappedRange(pages, MEMORY_DEVICE, long);
  const bytes = new Uint8Array(buffer(views, 0, pages * PAGE));
  const before = poisoned();
  ftruncateSync(long, PAGE);
  for (let page = pages - 1; page > 0; page--) expect(bytes[page * PAGE]).toBe(0xff);
  expect(bytes[0]).toBe(0);
  expect(poisoned() - before).toBe(1);
  native.rangeRelease(views);
  native.close(long);
});

test('a store to what is lost changes nothing that is read elsewhere', () => {
  const words = new Uint32Array(buffer(range, 0, 2 * PAGE));
  unplug();
  words[0] = 5;
  words[PAGE / 4] = 6;
  const others = mappedRange(1, MEMORY_DEVICE, fd);
  expect(new Uint32Array(buffer(others, 0, PAGE))[0]).toBe(0xffffffff);
  native.rangeRelease(others);
});

const sanitized = process.env.VFIO_ADDON !== undefined;
if (sanitized) console.warn('a sanitizer needs room itself: faults without any are skipped');
(sanitized ? test.skip : test).each(['maps', 'address-space', 'data'])(
  'without room for more (%s), a fault does not kill',
  (limit) => {
    const { stdout, stderr, status } = runChild('sigbus-child.cjs', ['limit', limit]);
    expect([status, stderr, stdout.trim()]).toEqual([0, '', '4294967295 4294967295 1']);
  },
);

test('a flag of lost memory is there for device memory only', () => {
  const memory = mappedRange(1, MEMORY_ANONYMOUS);
  expect(native.rangeLost(memory)).toBe(-errno.ENXIO);
  native.rangeRelease(memory);
});

test('threads that fault while another restores never take poison for the device', async () => {
  const word = new Uint32Array(buffer(range, 0, 2 * PAGE));
  const lost = new Uint8Array(given(native.rangeLost(range)));
  const worker = startWorker('worker.cjs');
  const ready = message(worker);
  worker.postMessage({ action: 'readDevice', range, rounds: 20_000 });
  await ready;
  const done = message<{ poison: number; refused: number }>(worker);
  let end = false;
  void done.then(() => {
    end = true;
  });
  while (!end) {
    for (let i = 0; i < 50; i++) {
      unplug();
      void word[0];
      replug();
      expect(native.rangeRestore(range)).toBe(0);
    }
    await new Promise(setImmediate);
  }
  const { poison, refused } = await done;
  expect(poison).toBe(0);
  expect(refused).toBeGreaterThan(0);
  expect(lost[0]).toBeLessThanOrEqual(255);
  await worker.terminate();
});

test('memory of a file is not guarded', () => {
  const { signal } = runChild('sigbus-child.cjs', ['file', String(MEMORY_FILE)]);
  expect(signal).toBe('SIGBUS');
});

test('memory of a device is, in the same process', () => {
  const { stdout, status } = runChild('sigbus-child.cjs', ['file', String(MEMORY_DEVICE)]);
  expect([status, stdout.trim()]).toEqual([0, '4294967295']);
});

test('a SIGBUS that another process sends has its usual effect', () => {
  expect(runChild('sigbus-child.cjs', ['sent']).signal).toBe('SIGBUS');
});

test('a SIGBUS handler that was there before is called for what is not ours', () => {
  const { stdout, status } = runChild('sigbus-child.cjs', ['chained']);
  expect([status, stdout.trim()]).toEqual([0, 'listener called']);
});

test('listeners of the program that come and go do not disarm it', () => {
  const { stdout, stderr, status } = runChild('sigbus-child.cjs', ['listeners']);
  expect([status, stderr, stdout.trim()]).toEqual([0, '', '4294967295 4294967295 called']);
});
