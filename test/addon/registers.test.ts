import { exchanging } from '../../src/device/exchange';
import {
  MEMORY_ANONYMOUS,
  MEMORY_FILE,
  type NativeAccessors,
  native,
  PROT_READ,
  PROT_WRITE,
  type RegisterAccessors,
} from '../../src/native';
import { errno, given, mappedRange, memoryFile, PAGE, registers } from './support';

const LENGTH = 64;

const plain = (accessors: NativeAccessors): RegisterAccessors => accessors;

/** The same promises, whether registers are reached by loads and stores or by pread and pwrite. */
describe.each([
  ['memory', plain],
  ['file', plain],
  ['memory', exchanging],
  ['file', exchanging],
])('registers in %s, %p', (kind, by) => {
  let fd: number;
  let range: number;
  let at: RegisterAccessors;

  beforeEach(() => {
    fd = memoryFile(PAGE);
    range = mappedRange(1, MEMORY_FILE, fd);
    at = by(
      kind === 'memory' ? registers(range, 128, LENGTH) : given(native.fdRegisters(fd, 128, 64)),
    );
  });

  afterEach(() => {
    native.rangeRelease(range);
    native.close(fd);
  });

  const bytes = () => {
    const all = Buffer.alloc(LENGTH);
    native.pread(fd, all, 128);
    return all;
  };

  test('each width reads and writes its own bytes, little-endian', () => {
    const pattern = Buffer.alloc(LENGTH, 0xee);
    native.pwrite(fd, pattern, 128);
    expect(at.write8(1, 0x81)).toBe(0);
    expect(at.write16(4, 0x8283)).toBe(0);
    expect(at.write32(8, 0x84858687)).toBe(0);
    expect(at.write64(16, 0x88898a8b8c8d8e8fn)).toBe(0);
    expect(at.write64LoHi(28, 0x90919293, 0x94959697)).toBe(0);
    expect(bytes().toString('hex')).toBe(
      `ee81eeee8382eeee87868584eeeeeeee8f8e8d8c8b8a8988eeeeeeee9392919097969594${'ee'.repeat(28)}`,
    );
    expect(at.read8(1)).toBe(0x81);
    expect(at.read16(4)).toBe(0x8283);
    expect(at.read32(8)).toBe(0x84858687);
    expect(at.read64(16)).toBe(0x88898a8b8c8d8e8fn);
    const out = new Uint32Array(3);
    expect(at.read64LoHi(28, out)).toBe(0);
    expect([...out]).toEqual([0x90919293, 0x94959697, 0]);
  });

  test('a value is of the width, of either sign, and none is cut', () => {
    expect(at.write8(0, 0xff)).toBe(0);
    expect(at.write8(1, -128)).toBe(0);
    expect(at.write16(2, -1)).toBe(0);
    expect(at.write32(4, -2)).toBe(0);
    expect(at.write64(8, -1n)).toBe(0);
    expect(at.write64(16, 2n ** 63n + 5n)).toBe(0);
    expect(at.write64LoHi(24, -1, 2 ** 32 - 1)).toBe(0);
    const written = bytes();
    expect(at.write8(0, 0x100)).toBe(-errno.EINVAL);
    expect(at.write8(0, -129)).toBe(-errno.EINVAL);
    expect(at.write16(2, 0x1_0000)).toBe(-errno.EINVAL);
    expect(at.write32(4, 2 ** 32)).toBe(-errno.EINVAL);
    expect(at.write32(4, -(2 ** 31) - 1)).toBe(-errno.EINVAL);
    for (const value of [2n ** 64n, -(2n ** 63n) - 1n, 2n ** 200n]) {
      expect(at.write64(8, value)).toBe(-errno.EINVAL);
    }
    expect(at.write64LoHi(24, 0, 2 ** 32)).toBe(-errno.EINVAL);
    expect(bytes()).toEqual(written);
    expect(written.subarray(0, 8).toString('hex')).toBe('ff80fffffeffffff');
    expect(at.read64(8)).toBe(2n ** 64n - 1n);
    expect(at.read64(16)).toBe(2n ** 63n + 5n);
    expect(at.read64(24)).toBe(2n ** 64n - 1n);
  });

  test('a value that is no integer is refused and not written', () => {
    for (const value of [1.5, NaN, Infinity, '1', undefined, null, 1n, 2 ** 54]) {
      expect(at.write8(0, value as number)).toBe(-errno.EINVAL);
      expect(at.write16(0, value as number)).toBe(-errno.EINVAL);
      expect(at.write32(0, value as number)).toBe(-errno.EINVAL);
      expect(at.write64LoHi(0, 1, value as number)).toBe(-errno.EINVAL);
    }
    expect(at.write64(0, 1 as unknown as bigint)).toBe(-errno.EINVAL);
    expect(bytes().every((byte) => byte === 0)).toBe(true);
  });

  /** Every access at an offset: all must answer with the same error. */
  function allAt(offset: number): unknown[] {
    const results = [at.read8(offset), at.read16(offset), at.read32(offset), at.read64(offset)];
    results.push(at.write8(offset, 1), at.write16(offset, 1), at.write32(offset, 1));
    results.push(at.write64(offset, 1n), at.write64LoHi(offset, 1, 1));
    results.push(at.read64LoHi(offset, new Uint32Array(2)));
    return [...new Set(results)];
  }

  test('an offset outside of the window is refused', () => {
    for (const offset of [LENGTH, LENGTH + 1, 2 ** 32, 2 ** 53, 2 ** 64, Infinity]) {
      expect(allAt(offset)).toEqual([-errno.ERANGE]);
    }
    expect(at.read64(LENGTH - 8)).toBe(0n);
    expect(at.read32(LENGTH - 4)).toBe(0);
    expect(at.read64(LENGTH - 4)).toBe(-errno.ERANGE);
    expect(at.read64LoHi(LENGTH - 4, new Uint32Array(2))).toBe(-errno.ERANGE);
    expect(at.write64LoHi(LENGTH - 4, 1, 1)).toBe(-errno.ERANGE);
    expect(at.read32(LENGTH - 2)).toBe(-errno.ERANGE);
    expect(bytes().every((byte) => byte === 0)).toBe(true);
  });

  test('an offset that is no natural number is refused', () => {
    for (const offset of [-1, -4, -(2 ** 32), 0.5, 4.5, NaN, -Infinity]) {
      expect(allAt(offset)).toEqual([-errno.EINVAL]);
    }
    for (const offset of ['0', undefined, null, {}, 0n, true]) {
      expect(allAt(offset as number)).toEqual([-errno.EINVAL]);
    }
    expect((at.read32 as () => number)()).toBe(-errno.EINVAL);
    expect(at.read32(-0)).toBe(0);
  });

  test('an access that is not naturally aligned is refused', () => {
    expect(at.read16(1)).toBe(-errno.EINVAL);
    expect(at.write16(3, 1)).toBe(-errno.EINVAL);
    expect(at.read32(2)).toBe(-errno.EINVAL);
    expect(at.write32(6, 1)).toBe(-errno.EINVAL);
    expect(at.read64(4)).toBe(-errno.EINVAL);
    expect(at.write64(12, 1n)).toBe(-errno.EINVAL);
    expect(at.read64LoHi(2, new Uint32Array(2))).toBe(-errno.EINVAL);
    expect(at.read64LoHi(4, new Uint32Array(2))).toBe(0);
  });

  test('alignment is that of the device, not of the window', () => {
    const odd = by(
      kind === 'memory' ? registers(range, 2, 16) : given(native.fdRegisters(fd, 2, 16)),
    );
    expect(odd.read32(0)).toBe(-errno.EINVAL);
    expect(odd.write32(2, 0x11223344)).toBe(0);
    expect(odd.read64(6)).toBe(0n);
    const word = new Uint8Array(4);
    native.pread(fd, word, 4);
    expect([...word]).toEqual([0x44, 0x33, 0x22, 0x11]);
  });

  test('a batch reads one register per offset', () => {
    for (let i = 0; i < 4; i++) at.write32(4 * i, 0x100 + i);
    const out = new Uint32Array(5).fill(7);
    expect(at.readBatch32(Uint32Array.of(12, 0, 8, 0), out)).toBe(0);
    expect([...out]).toEqual([0x103, 0x100, 0x102, 0x100, 7]);
    expect(at.readBatch32(new Uint32Array(0), new Uint32Array(0))).toBe(0);
  });

  test('a batch with one bad offset reads nothing', () => {
    const out = new Uint32Array(3).fill(7);
    expect(at.readBatch32(Uint32Array.of(0, 4, LENGTH), out)).toBe(-errno.ERANGE);
    expect(at.readBatch32(Uint32Array.of(0, 4, 2), out)).toBe(-errno.EINVAL);
    expect(at.readBatch32(Uint32Array.of(0, 4, 8, 12), out)).toBe(-errno.EINVAL); // no room
    expect(at.readBatch32([0, 4] as unknown as Uint32Array, out)).toBe(-errno.EINVAL);
    expect(at.readBatch32(new Uint32Array(1), new Int32Array(1) as unknown as Uint32Array)).toBe(
      -errno.EINVAL,
    );
    expect([...out]).toEqual([7, 7, 7]);
  });

  test('a batch whose results overwrite its offsets stays inside of the window', () => {
    at.write32(0, 0xfffffff0);
    const offsets = new Uint32Array(4);
    expect(at.readBatch32(offsets.subarray(0, 3), offsets.subarray(1))).toBe(-errno.ERANGE);
    expect([...offsets]).toEqual([0, 0xfffffff0, 0, 0]);
  });

  test('read64LoHi wants room for two words', () => {
    for (const out of [new Uint32Array(1), new Uint8Array(8), [0, 0], undefined]) {
      expect(at.read64LoHi(0, out as Uint32Array)).toBe(-errno.EINVAL);
    }
  });

  test('closed accessors answer -EBADF, for good', () => {
    at.close();
    at.close();
    expect(allAt(0)).toEqual([-errno.EBADF]);
    expect(allAt(NaN)).toEqual([-errno.EBADF]);
    expect(at.readBatch32(new Uint32Array(1), new Uint32Array(1))).toBe(-errno.EBADF);
  });

  test('the functions need no object', () => {
    const { write32, read32 } = at;
    expect(write32(0, 5)).toBe(0);
    expect(read32(0)).toBe(5);
    expect(read32.name).toBe('read32');
  });

  test('release of the range, or close of the file, closes the accessors', () => {
    if (kind === 'memory') native.rangeRelease(range);
    else native.close(fd);
    expect(allAt(0)).toEqual([-errno.EBADF]);
  });
});

test('accessors of a closed file stay closed when its number is in use again', () => {
  const fd = memoryFile(PAGE);
  const at = given(native.fdRegisters(fd, 0, 4));
  native.close(fd);
  expect(memoryFile(PAGE)).toBe(fd);
  expect(at.read32(0)).toBe(-errno.EBADF);
  expect(at.write32(0, 1)).toBe(-errno.EBADF);
  native.close(fd);
});

test('a register behind the end of a file is -EIO', () => {
  const fd = memoryFile(6);
  const at = given(native.fdRegisters(fd, 0, 16));
  expect(at.read32(0)).toBe(0);
  expect(at.read32(4)).toBe(-errno.EIO);
  expect(at.read32(8)).toBe(-errno.EIO);
  native.close(fd);
});

test('registers keep to the protection of their memory', () => {
  const range = native.rangeReserve(2 * PAGE, PAGE);
  native.rangeMap(range, 0, PAGE, MEMORY_ANONYMOUS, PROT_READ, -1, 0);
  native.rangeMap(range, PAGE, PAGE, MEMORY_ANONYMOUS, PROT_WRITE, -1, 0);
  const readOnly = registers(range, 0, PAGE);
  expect(readOnly.read32(0)).toBe(0);
  expect(readOnly.write32(0, 1)).toBe(-errno.EACCES);
  const writeOnly = registers(range, PAGE, PAGE);
  expect(writeOnly.write32(0, 1)).toBe(0);
  expect(writeOnly.read32(0)).toBe(-errno.EACCES);
  const both = registers(range, 0, 2 * PAGE);
  expect([both.read32(0), both.write32(0, 1)]).toEqual([-errno.EACCES, -errno.EACCES]);
  native.rangeRelease(range);
});

test('a window lies inside of its range, and all of it has memory', () => {
  const range = native.rangeReserve(3 * PAGE, PAGE);
  native.rangeMap(range, 0, PAGE, MEMORY_ANONYMOUS, 3, -1, 0);
  native.rangeMap(range, 2 * PAGE, PAGE, MEMORY_ANONYMOUS, 3, -1, 0);
  expect(native.rangeRegisters(range, 0, 3 * PAGE)).toBe(-errno.EFAULT);
  expect(native.rangeRegisters(range, PAGE, 4)).toBe(-errno.EFAULT);
  expect(native.rangeRegisters(range, PAGE - 4, 8)).toBe(-errno.EFAULT);
  expect(native.rangeRegisters(range, 3 * PAGE, 4)).toBe(-errno.ERANGE);
  expect(native.rangeRegisters(range, 0, 3 * PAGE + 1)).toBe(-errno.ERANGE);
  expect(native.rangeRegisters(range, 0, 0)).toBe(-errno.EINVAL);
  expect(native.rangeRegisters(range + 1000, 0, 4)).toBe(-errno.EBADF);
  native.rangeRelease(range);
});
