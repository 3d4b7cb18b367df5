/** A region's 32-bit accesses, which need no call into the addon, keep all that the addon promises. */
import { ftruncateSync } from 'node:fs';
import { Region } from '../../src/device/region';
import { native } from '../../src/native';
import { memoryFile, PAGE } from './support';

/** VFIO_REGION_INFO_FLAG_READ, WRITE and MMAP. */
const FLAGS = 7;

let fd: number;
let region: Region;
beforeEach(() => {
  fd = memoryFile(2 * PAGE);
  const info = { index: 0, flags: FLAGS, size: 2 * PAGE, offset: 0, capabilities: [] };
  region = new Region('0000:01:00.0', fd, 'bar0', info);
});
afterEach(() => {
  region.close();
  native.close(fd);
});

const code = (code: string) => expect.objectContaining({ code });

/** Compile what calls it for the types it has seen. */
function optimised(call: () => void): void {
  for (let i = 0; i < 20_000; i++) call();
}

test('32 bits read back at every width', () => {
  region.write32(PAGE, 0xdead_beef);
  expect(region.read32(PAGE)).toBe(0xdead_beef);
  expect(region.read8(PAGE + 3)).toBe(0xde);
  region.write32(0, -2);
  expect(region.read64(0)).toBe(0xffff_fffen);
  optimised(() => region.write32(4, region.read32(4) + 1));
  expect(region.read32(4)).toBe(20_000);
});

test('offsets and values that are none are refused, cold and optimised', () => {
  const refuse = () => {
    for (const offset of [1, 2, 0.5, 4.5, 2 * PAGE, -4, 2 ** 32, Number.NaN]) {
      expect(() => region.read32(offset)).toThrow();
      expect(() => region.write32(offset, 1)).toThrow();
    }
    for (const value of [1.5, Number.NaN, 2 ** 60])
      expect(() => region.write32(8, value)).toThrow();
    expect(region.read32(8)).toBe(0);
  };
  refuse();
  optimised(() => region.write32(0, region.read32(0)));
  refuse();
});

test('a device that stops answering is EIO at that very access, until it is restored', () => {
  optimised(() => region.write32(0, 7));
  ftruncateSync(fd, 0);
  expect(() => region.write32(0, 1)).toThrow(code('EIO'));
  ftruncateSync(fd, 2 * PAGE);
  expect(() => region.read32(0)).toThrow(code('EIO'));
  expect(() => region.write32(PAGE, 1)).toThrow(code('EIO'));
  region.restore();
  expect(region.read32(0)).toBe(0);
  expect(region.read32(PAGE)).toBe(0);
  optimised(() => region.read32(PAGE));
  ftruncateSync(fd, 0);
  expect(() => region.read32(PAGE)).toThrow(code('EIO'));
});

test('a closed region refuses, also inside an optimised loop', () => {
  const run = () => {
    for (let i = 0; ; i++) {
      if (i === 100_000) region.close();
      region.write32(0, i);
    }
  };
  expect(run).toThrow(code('ERR_VFIO_CLOSED'));
  expect(() => region.read32(0)).toThrow(code('ERR_VFIO_CLOSED'));
});

describe('a refused access says what was wrong with it', () => {
  const invalid = code('ERR_VFIO_INVALID_ARGUMENT');

  test('the value', () => {
    expect(() => region.write64(0x80, 5 as never)).toThrow(invalid);
    for (const value of [undefined, Number.NaN, '1', 2 ** 33, -(2 ** 31) - 1]) {
      expect(() => region.write32(0x10, value as never)).toThrow(invalid);
    }
    expect(() => region.write8(1, 300)).toThrow(invalid);
    expect(() => region.write16(2, -40_000)).toThrow(invalid);
    expect(() => region.write64LoHi(4, 0, 2 ** 32)).toThrow(invalid);
  });

  test('the array, or the first offset that is wrong', () => {
    expect(() => region.read64LoHi(0, new Uint32Array(1))).toThrow(invalid);
    expect(() => region.readBatch32(new Uint32Array(4), new Uint32Array(3))).toThrow(invalid);
    expect(() => region.readBatch32(new Uint32Array([2, 8]), new Uint32Array(2))).toThrow(
      expect.objectContaining({ message: expect.stringContaining('offset 2 is not aligned to 4') }),
    );
    const many = new Uint32Array(300_000).fill(2 * PAGE);
    expect(() => region.readBatch32(many, new Uint32Array(300_000))).toThrow(
      code('ERR_VFIO_OUT_OF_RANGE'),
    );
  });
});
