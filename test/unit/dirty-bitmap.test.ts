import assert from 'node:assert/strict';
import fc from 'fast-check';
import { bitmapBytes, DirtyBitmap } from '../../src/dma/dirty-bitmap';

const PAGE = 4096;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

function runsOf(bitmap: DirtyBitmap): Array<[number, number]> {
  const runs: Array<[number, number]> = [];
  bitmap.forEachRange((first, pages) => runs.push([first, pages]));
  return runs;
}

/** The same bit by bit, from the bytes. */
function naiveRuns({ bytes, pages }: DirtyBitmap): Array<[number, number]> {
  const runs: Array<[number, number]> = [];
  for (let page = 0; page < pages; page++) {
    if (((bytes[page >> 3]! >> (page & 7)) & 1) === 0) continue;
    const last = runs.at(-1);
    if (last && last[0] + last[1] === page) last[1]++;
    else runs.push([page, 1]);
  }
  return runs;
}

test.each([
  [1, PAGE, 8],
  [PAGE, PAGE, 8],
  [64 * PAGE, PAGE, 8],
  [64 * PAGE + 1, PAGE, 16],
  [2 ** 31, 2 ** 21, 128],
  [2 ** 43 - PAGE, PAGE, 2 ** 28],
])('%d bytes in pages of %d take a bitmap of %d bytes', (size, pageSize, bytes) => {
  expect(bitmapBytes(size, pageSize)).toBe(bytes);
});

test('the bits are those of little-endian u64 words, counted from the address', () => {
  const words = new BigUint64Array([1n | (1n << 63n), 0b111n | (1n << 33n)]);
  const bitmap = new DirtyBitmap({
    iova: 0x1_0000_0000n,
    size: 128 * PAGE,
    pageSize: PAGE,
    bytes: new Uint8Array(words.buffer),
  });
  expect([...bitmap.ranges()]).toEqual([
    { iova: 0x1_0000_0000n, size: 0x1000n },
    { iova: 0x1_0003_f000n, size: 0x4000n },
    { iova: 0x1_0006_1000n, size: 0x1000n },
  ]);
  expect(runsOf(bitmap)).toEqual([
    [0, 1],
    [63, 4],
    [97, 1],
  ]);
  expect(bitmap.count).toBe(6);
  expect(bitmap.isDirty(0x1_0000_0fffn)).toBe(true);
  expect(bitmap.isDirty(0x1_0000_1000n)).toBe(false);
  expect(bitmap.isDirty(0x1_0006_1000n)).toBe(true);
});

test('a clean one has no ranges, a full one has one, at the end of 64 bits too', () => {
  const iova = (1n << 64n) - 100n * 4096n;
  const bitmap = new DirtyBitmap({ iova, size: 100 * PAGE, pageSize: PAGE });
  expect([bitmap.count, [...bitmap.ranges()]]).toEqual([0, []]);
  bitmap.bytes.fill(0xff);
  expect([...bitmap.ranges()]).toEqual([{ iova, size: 100n * 4096n }]);
  expect(bitmap.count).toBe(100);
  bitmap.clear();
  expect(bitmap.count).toBe(0);
});

test('it works on the caller’s memory', () => {
  const bytes = new Uint8Array(new ArrayBuffer(16), 4, 8);
  const bitmap = new DirtyBitmap({ iova: 0n, size: PAGE, pageSize: PAGE, bytes });
  bytes[0] = 1;
  expect(bitmap.isDirty(0n)).toBe(true);
  bitmap.clear();
  expect(bytes[0]).toBe(0);
});

describe('like a loop over bits', () => {
  /** Words that are empty, full, or sparse, so that runs of every length come up. */
  const byte = fc.oneof(fc.constantFrom(0, 0xff, 1, 0x80), fc.nat(0xff));
  const stretch = fc.tuple(byte, fc.integer({ min: 1, max: 12 }));
  const anyBitmap = fc
    .tuple(fc.integer({ min: 1, max: 700 }), fc.array(stretch, { minLength: 1, maxLength: 12 }))
    .map(([pages, stretches]) => {
      const size = pages * PAGE;
      const bytes = new Uint8Array(bitmapBytes(size, PAGE));
      const pattern = stretches.flatMap(([value, times]) => Array<number>(times).fill(value));
      bytes.set(bytes.map((_, i) => pattern[i % pattern.length]!));
      return new DirtyBitmap({ iova: 0x10_0000n, size, pageSize: PAGE, bytes });
    });

  test('ranges, forEachRange, count and isDirty', () => {
    const property = fc.property(anyBitmap, (bitmap) => {
      const expected = naiveRuns(bitmap);
      const dirty = new Set<number>();
      for (const [first, pages] of expected)
        for (let page = first; page < first + pages; page++) dirty.add(page);
      expect(runsOf(bitmap)).toEqual(expected);
      expect([...bitmap.ranges()]).toEqual(
        expected.map(([first, pages]) => ({
          iova: 0x10_0000n + BigInt(first * PAGE),
          size: BigInt(pages * PAGE),
        })),
      );
      expect(bitmap.count).toBe(dirty.size);
      for (let page = 0; page < bitmap.pages; page++) {
        assert.equal(bitmap.isDirty(0x10_0000n + BigInt(page * PAGE + 100)), dirty.has(page));
      }
    });
    fc.assert(property, { numRuns: 300 });
  });

  test('merge', () => {
    const property = fc.property(anyBitmap, fc.nat(0xff), (bitmap, value) => {
      const { iova, size, pageSize } = bitmap;
      const other = new DirtyBitmap({ iova, size, pageSize });
      other.bytes.fill(value);
      const expected = bitmap.bytes.map((byte) => byte | value);
      bitmap.merge(other);
      expect(bitmap.bytes).toEqual(expected);
      expect(other.bytes.every((byte) => byte === value)).toBe(true);
    });
    fc.assert(property, { numRuns: 200 });
  });
});

test('ranges can be left early', () => {
  const bitmap = new DirtyBitmap({ iova: 0n, size: 64 * PAGE, pageSize: PAGE });
  bitmap.bytes.fill(0x55);
  for (const { iova } of bitmap.ranges()) {
    expect(iova).toBe(0n);
    break;
  }
});

describe('refused', () => {
  const good = { iova: 0x2000n, size: 4 * PAGE, pageSize: PAGE };

  test.each([0, -PAGE, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 43])('size %p', (size) => {
    expect(() => bitmapBytes(size, PAGE)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  });

  test.each([0, -1, 0.5, 3000, Number.NaN, Number.POSITIVE_INFINITY])(
    'page size %p',
    (pageSize) => {
      expect(() => bitmapBytes(PAGE, pageSize)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    },
  );

  test('an address within a page', () => {
    for (const iova of [0x2100n, -0x1000n]) {
      expect(() => new DirtyBitmap({ ...good, iova })).toThrow(code('ERR_VFIO_UNALIGNED'));
    }
  });

  test('a bitmap of the wrong length or at an odd place', () => {
    const wrong = [
      new Uint8Array(1),
      new Uint8Array(16),
      new Uint8Array(new ArrayBuffer(16), 2, 8),
    ];
    for (const bytes of wrong) {
      const make = () => new DirtyBitmap({ ...good, bytes });
      expect(make).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
      expect(make).toThrow(expect.objectContaining({ hint: expect.stringContaining('8 bytes') }));
    }
  });

  test('an address outside', () => {
    const bitmap = new DirtyBitmap(good);
    for (const iova of [0x1fffn, 0x6000n, 1n << 63n]) {
      expect(() => bitmap.isDirty(iova)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
    }
  });

  test('merging what covers other pages', () => {
    const bitmap = new DirtyBitmap(good);
    for (const change of [
      { iova: 0x1000n },
      { size: 5 * PAGE },
      { size: 8 * PAGE, pageSize: 2 * PAGE },
    ]) {
      const other = new DirtyBitmap({ ...good, ...change });
      expect(() => bitmap.merge(other)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    }
  });
});
