import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../../src/native';
import { errno, memoryFile, openFiles, PAGE, statusFlags } from './support';

const O_CLOEXEC = 0o2000000;

test('open gives a descriptor that no child process inherits', () => {
  const fd = native.open('/dev/null', constants.O_RDWR);
  expect(openFiles().get(fd)).toBe('/dev/null');
  expect(statusFlags(fd) & O_CLOEXEC).toBe(O_CLOEXEC);
  expect(native.close(fd)).toBe(0);
  expect(openFiles().has(fd)).toBe(false);
});

test('open answers with the errno', () => {
  expect(native.open(join(tmpdir(), 'no/such/file'), constants.O_RDONLY)).toBe(-errno.ENOENT);
  expect(native.open('/', constants.O_RDWR)).toBe(-errno.EISDIR);
  expect(native.open('/dev/null\0x', constants.O_RDONLY)).toBe(-errno.EINVAL);
});

test('pread and pwrite transfer at a position', () => {
  const fd = memoryFile(64);
  expect(native.pwrite(fd, Buffer.from('hello'), 10)).toBe(5);
  const bytes = new Uint8Array(8);
  expect(native.pread(fd, bytes.subarray(2, 7), 10)).toBe(5);
  expect(Buffer.from(bytes).toString('latin1')).toBe('\0\0hello\0');
  expect(native.pread(fd, bytes, 60)).toBe(4);
  expect(native.pread(fd, bytes, 64)).toBe(0);
  expect(native.pread(fd, new Uint8Array(0), 0)).toBe(0);
  native.close(fd);
});

test('pread takes a Uint8Array that is not detached, and a whole position', () => {
  const fd = memoryFile(64);
  const detached = new Uint8Array(8);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  for (const bytes of [detached, new Uint16Array(4), new ArrayBuffer(8), [1, 2], 'text', null]) {
    expect(native.pread(fd, bytes as Uint8Array, 0)).toBe(-errno.EINVAL);
    expect(native.pwrite(fd, bytes as Uint8Array, 0)).toBe(-errno.EINVAL);
  }
  for (const position of [-1, 0.5, NaN, Infinity, 2 ** 53, 1n]) {
    expect(native.pread(fd, new Uint8Array(8), position as number)).toBe(-errno.EINVAL);
  }
  native.close(fd);
});

test('a descriptor that the environment does not own is out of reach', () => {
  const fd = openSync('/dev/zero', 'r+');
  expect(native.close(fd)).toBe(-errno.EBADF);
  expect(native.pread(fd, new Uint8Array(1), 0)).toBe(-errno.EBADF);
  expect(native.fdRegisters(fd, 0, 4)).toBe(-errno.EBADF);
  expect(native.ioctlValue(fd, 0, 0)).toBe(-errno.EBADF);
  expect(writeSync(fd, 'x')).toBe(1); // still open
  closeSync(fd);
  expect(native.close(-1)).toBe(-errno.EBADF);
});

test('close closes once', () => {
  const fd = memoryFile(1);
  expect(native.close(fd)).toBe(0);
  expect(native.close(fd)).toBe(-errno.EBADF);
  expect(native.pread(fd, new Uint8Array(1), 0)).toBe(-errno.EBADF);
});

test('duplicateFd makes a descriptor of its own; the given one stays as it was', () => {
  const fd = openSync('/dev/zero', 'r');
  const own = native.duplicateFd(fd);
  expect(own).not.toBe(fd);
  expect(statusFlags(own) & O_CLOEXEC).toBe(O_CLOEXEC);
  closeSync(fd);
  expect(native.pread(own, new Uint8Array(4), 0)).toBe(4);
  expect(native.close(own)).toBe(0);
  expect(native.duplicateFd(fd)).toBe(-errno.EBADF);
  expect(native.duplicateFd(-1)).toBe(-errno.EBADF);
});

test("giveFd makes a descriptor the caller's", () => {
  const fd = native.open('/dev/zero', constants.O_RDONLY);
  expect(native.giveFd(fd)).toBe(fd);
  expect(native.close(fd)).toBe(-errno.EBADF);
  expect(statusFlags(fd) & O_CLOEXEC).toBe(O_CLOEXEC);
  closeSync(fd);
  expect(native.giveFd(fd)).toBe(-errno.EBADF);
});

test('closeAsync resolves when the kernel has the descriptor back', async () => {
  const fd = memoryFile(PAGE);
  expect(await native.closeAsync(fd)).toBe(0);
  expect(openFiles().has(fd)).toBe(false);
  expect(await native.closeAsync(fd)).toBe(-errno.EBADF);
});

test('a descriptor closed behind the back of the addon is not closed for its next owner', () => {
  const stale = memoryFile(1);
  closeSync(stale);
  const fd = native.open('/dev/zero', constants.O_RDONLY);
  expect(fd).toBe(stale); // the kernel gives the lowest free number
  expect(openFiles().get(fd)).toBe('/dev/zero');
  expect(native.pread(fd, new Uint8Array(4), 0)).toBe(4);
  expect(native.close(fd)).toBe(0);
});

test('no argument whatever makes a call throw', async () => {
  const values = [undefined, null, true, 'x', '', 1.5, NaN, -Infinity, 1e300, -1, 2 ** 40 + 1, 1n];
  const odd = [...values, Symbol('x'), {}, [], new Uint8Array(3), new ArrayBuffer(8), new Date(0)];
  let seed = 1;
  const pick = () => {
    seed = (seed * 48271) % 0x7fffffff;
    return odd[seed % odd.length];
  };
  for (const [name, call] of Object.entries(native)) {
    if (typeof call !== 'function') continue;
    for (let round = 0; round < 200; round++) {
      const args = Array.from({ length: round % 8 }, pick);
      const result: unknown = await call(...args);
      // eventfdCreate has no argument that could be wrong; closing what is not open is fine.
      if (name === 'sigbusRearm') expect(result).toBe(0);
      else if (name === 'eventfdCreate') native.eventfdClose(result as number);
      else if (name === 'eventfdClose') expect(result).toBeLessThanOrEqual(0);
      else expect(result).toBeLessThan(0);
    }
  }
});
