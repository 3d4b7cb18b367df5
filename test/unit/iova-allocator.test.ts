import assert from 'node:assert/strict';
import fc from 'fast-check';
import { IovaAllocator } from '../../src/dma/iova-allocator';
import { VfioError } from '../../src/errors';
import { NaiveIova } from './naive-iova';

const PAGE = 4096;
/** As VT-d reports them: a hole for the MSI window. */
const ranges = [
  { start: 0n, end: 0xfedf_ffffn },
  { start: 0xfef0_0000n, end: (1n << 48n) - 1n },
];

const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

test('addresses start above page 0 and do not overlap', () => {
  const allocator = new IovaAllocator(ranges, PAGE);
  expect(allocator.allocate(PAGE)).toBe(0x1000n);
  expect(allocator.allocate(2 * PAGE)).toBe(0x2000n);
  expect(allocator.allocate(PAGE)).toBe(0x4000n);
});

test('freed runs grow together again', () => {
  const allocator = new IovaAllocator(ranges, PAGE);
  const before = allocator.freeBytes;
  const runs = Array.from({ length: 5 }, () => allocator.allocate(PAGE));
  for (const i of [1, 3, 2, 0, 4]) allocator.free(runs[i]!, PAGE);
  expect(allocator.freeBytes).toBe(before);
  expect(allocator.allocate(5 * PAGE)).toBe(runs[0]);
});

test('alignment and the highest address are kept', () => {
  const allocator = new IovaAllocator(ranges, PAGE);
  expect(allocator.allocate(PAGE, { alignment: 1 << 21 })).toBe(1n << 21n);
  const narrow = { maxIova: 0x2fffn };
  expect(allocator.allocate(2 * PAGE, narrow)).toBe(0x1000n);
  expect(() => allocator.allocate(PAGE, narrow)).toThrow(
    expect.objectContaining({
      code: 'ERR_VFIO_IOVA_SPACE',
      hint: expect.stringContaining('maxIova'),
    }),
  );
});

test('the last page of the last range can be had', () => {
  const allocator = new IovaAllocator([{ start: 0x1000n, end: 0x3fffn }], PAGE);
  expect([1, 2, 3].map(() => allocator.allocate(PAGE))).toEqual([0x1000n, 0x2000n, 0x3000n]);
  expect(() => allocator.allocate(PAGE)).toThrow();
});

test('64-bit ranges are exact', () => {
  const top = (1n << 64n) - 1n;
  const allocator = new IovaAllocator([{ start: top - 0x1fffn, end: top }], PAGE);
  expect(allocator.allocate(PAGE)).toBe(0xffff_ffff_ffff_e000n);
  expect(allocator.allocate(PAGE)).toBe(0xffff_ffff_ffff_f000n);
});

test('partial pages at the ends of a range are left out', () => {
  const allocator = new IovaAllocator([{ start: 0x1800n, end: 0x37ffn }], PAGE);
  expect(allocator.freeBytes).toBe(0x1000n);
});

test('two ranges that meet are one', () => {
  const halves = [
    { start: 0x3000n, end: 0x4fffn },
    { start: 0x1000n, end: 0x2fffn },
  ];
  const allocator = new IovaAllocator(halves, PAGE);
  const iova = allocator.allocate(4 * PAGE);
  expect(iova).toBe(0x1000n);
  allocator.free(iova, 4 * PAGE);
  expect(allocator.freeBytes).toBe(0x4000n);
});

test('ranges that overlap count once', () => {
  const overlapping = [
    { start: 0x1000n, end: 0x8fffn },
    { start: 0x2000n, end: 0x3fffn },
    { start: 0x8000n, end: 0x9fffn },
  ];
  expect(new IovaAllocator(overlapping, PAGE).freeBytes).toBe(0x9000n);
});

test('without reported ranges the narrowest address width is used', () => {
  const allocator = new IovaAllocator(undefined, PAGE);
  expect(allocator.freeBytes).toBe(1n << 39n);
  expect(() => allocator.reserve(1n << 39n, PAGE)).toThrow(code('ERR_VFIO_IOVA_OUTSIDE'));
});

describe('reserve', () => {
  test('keeps allocate away, until it is given back', () => {
    const allocator = new IovaAllocator(ranges, PAGE);
    allocator.reserve(0x2000n, 2 * PAGE);
    expect(allocator.allocate(PAGE)).toBe(0x1000n);
    expect(allocator.allocate(PAGE)).toBe(0x4000n);
    allocator.free(0x2000n, 2 * PAGE);
    expect(allocator.allocate(2 * PAGE)).toBe(0x2000n);
  });

  test('address 0 can be had on demand only', () => {
    const allocator = new IovaAllocator([{ start: 0n, end: 0x1fffn }], PAGE);
    expect(allocator.allocate(PAGE)).toBe(0x1000n);
    expect(() => allocator.allocate(PAGE)).toThrow(code('ERR_VFIO_IOVA_SPACE'));
    allocator.reserve(0n, PAGE);
    expect(allocator.freeBytes).toBe(0n);
  });

  test.each([
    ['at the start', 0x5000n, 2],
    ['at the end', 0x3000n, 2],
    ['around', 0x3000n, 4],
    ['the same', 0x4000n, 2],
  ])('what overlaps something in use is refused and changes nothing: %s', (_, iova, pages) => {
    const allocator = new IovaAllocator(ranges, PAGE);
    allocator.reserve(0x4000n, 2 * PAGE);
    const before = allocator.freeBytes;
    expect(() => allocator.reserve(iova, pages * PAGE)).toThrow(code('ERR_VFIO_IOVA_TAKEN'));
    expect(allocator.freeBytes).toBe(before);
  });

  test.each([
    ['in a hole', 0xfee0_0000n],
    ['into a hole', 0xfedf_f000n],
    ['past the end', (1n << 48n) - 0x1000n],
    ['below zero', -0x1000n],
  ])('what the IOMMU does not translate is refused: %s', (_, iova) => {
    const allocator = new IovaAllocator(ranges, PAGE);
    const reserve = () => allocator.reserve(iova, 2 * PAGE);
    expect(reserve).toThrow(code('ERR_VFIO_IOVA_OUTSIDE'));
    expect(reserve).toThrow(
      expect.objectContaining({ hint: expect.stringContaining('0x0..0xfedfffff') }),
    );
  });
});

describe('bad arguments', () => {
  const allocator = new IovaAllocator(ranges, PAGE);

  test.each([0, -PAGE, 100, PAGE + 1, Number.NaN, Number.POSITIVE_INFINITY])('size %p', (size) => {
    expect(() => allocator.allocate(size)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    expect(() => allocator.reserve(0x1000n, size)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    expect(() => allocator.free(0x1000n, size)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  });

  test.each([0, -4096, 3 * PAGE, 0.5, Number.NaN, Number.POSITIVE_INFINITY])(
    'alignment %p',
    (alignment) => {
      expect(() => allocator.allocate(PAGE, { alignment })).toThrow(
        code('ERR_VFIO_INVALID_ARGUMENT'),
      );
    },
  );

  test('an alignment below a page is a page', () => {
    expect(allocator.allocate(PAGE, { alignment: 64 }) % BigInt(PAGE)).toBe(0n);
  });

  test('an address within a page', () => {
    expect(() => allocator.reserve(0x1800n, PAGE)).toThrow(code('ERR_VFIO_UNALIGNED'));
  });

  test('giving back what is free, wholly or in part', () => {
    const iova = allocator.allocate(2 * PAGE);
    const before = allocator.freeBytes;
    for (const wrong of [iova + 0x1000n, 0x100_0000n]) {
      expect(() => allocator.free(wrong, 2 * PAGE)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    }
    expect(() => allocator.free(0xfee0_0000n, PAGE)).toThrow(code('ERR_VFIO_IOVA_OUTSIDE'));
    expect(allocator.freeBytes).toBe(before);
    allocator.free(iova, 2 * PAGE);
    expect(() => allocator.free(iova, 2 * PAGE)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  });
});

describe('65,000 live pages, every other one freed', () => {
  const live = 65_000;
  const allocator = new IovaAllocator(ranges, PAGE);
  const total = allocator.freeBytes;
  const page = (i: number) => BigInt(1 + i) * 0x1000n;
  const END = page(2 * live);

  beforeAll(() => {
    for (let i = 0; i < 2 * live; i++) allocator.allocate(PAGE);
    for (let i = 0; i < 2 * live; i += 2) allocator.free(page(i), PAGE);
  });

  test('larger requests go behind the holes, single pages into the lowest', () => {
    const two = allocator.allocate(2 * PAGE);
    const one = allocator.allocate(PAGE);
    expect([two, one]).toEqual([END, 0x1000n]);
    allocator.free(two, 2 * PAGE);
    allocator.free(one, PAGE);
  });

  test('a page at an even place finds the space behind, as all holes are odd', () => {
    const iova = allocator.allocate(PAGE, { alignment: 2 * PAGE });
    expect(iova).toBeGreaterThanOrEqual(END);
    allocator.free(iova, PAGE);
  });

  test('under a mask that leaves only the holes, what fits is found and the rest is refused', () => {
    const maxIova = END - 1n;
    expect(() => allocator.allocate(2 * PAGE, { maxIova })).toThrow(code('ERR_VFIO_IOVA_SPACE'));
    expect(() => allocator.allocate(PAGE, { maxIova, alignment: 2 * PAGE })).toThrow(
      code('ERR_VFIO_IOVA_SPACE'),
    );
    allocator.free(page(live + 1), PAGE);
    expect(allocator.allocate(3 * PAGE, { maxIova })).toBe(page(live));
    allocator.free(page(live), PAGE);
    allocator.free(page(live + 2), PAGE);
  });

  test('a misaligned hole is no obstacle: the one place for an aligned page is found', () => {
    const maxIova = END - 1n;
    const even = page(live + 1);
    allocator.free(even, PAGE);
    expect(allocator.allocate(PAGE, { maxIova, alignment: 2 * PAGE })).toBe(even);
  });

  test('freed in any order, everything grows together again', () => {
    let seed = 7;
    const rest = Array.from({ length: live }, (_, i) => page(2 * i + 1));
    for (let i = rest.length - 1; i > 0; i--) {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      const j = seed % (i + 1);
      [rest[i], rest[j]] = [rest[j]!, rest[i]!];
    }
    for (const iova of rest) allocator.free(iova, PAGE);
    expect(allocator.freeBytes).toBe(total);
    const largest = (1n << 48n) - 0xfef0_0000n;
    expect(allocator.allocate(Number(largest))).toBe(0xfef0_0000n);
  });
});

/** A small space, so that it gets full, at both ends of the address space: [first, end) in pages. */
const SPACE = 512;
const holes = [
  [0, 200],
  [201, 330],
  [340, SPACE],
] as const;

describe.each([
  ['at 0', 0],
  ['at the end of 64 bits', 2 ** 52 - SPACE],
])('like the naive allocator, %s', (_, origin) => {
  const small = holes.map(([first, end]) => ({
    start: BigInt(first + origin) * BigInt(PAGE),
    end: BigInt(end + origin) * BigInt(PAGE) - 1n,
  }));
  const pages = fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, fc.integer({ min: 1, max: 40 }));
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('allocate' as const),
      pages,
      order: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 6 })),
      limit: fc.option(fc.nat(SPACE), { nil: undefined }),
    }),
    fc.record({ kind: fc.constant('reserve' as const), first: fc.nat(SPACE), pages }),
    fc.record({ kind: fc.constant('free' as const), which: fc.nat() }),
  );

  test('50,000 random operations', () => {
    let operations = 0;
    const property = fc.property(fc.array(step, { minLength: 500, maxLength: 500 }), (steps) => {
      const allocator = new IovaAllocator(small, PAGE);
      const naive = new NaiveIova(SPACE, holes);
      const live: Array<{ first: number; pages: number }> = [];
      const iovaOf = (first: number) => BigInt(first + origin) * BigInt(PAGE);
      const taken = (first: number, pages: number) => {
        assert(naive.all(naive.free, first, pages), 'overlaps or leaves the ranges');
        naive.mark(first, pages, 0);
        live.push({ first, pages });
      };
      for (const op of steps) {
        operations++;
        if (op.kind === 'allocate') {
          const { pages, order, limit } = op;
          const expected = naive.find(pages, 2 ** order, limit ?? SPACE, origin);
          const iova = attempt(() =>
            allocator.allocate(pages * PAGE, {
              alignment: PAGE * 2 ** order,
              maxIova: limit === undefined ? undefined : iovaOf(limit) - 1n,
            }),
          );
          if (typeof iova !== 'bigint') {
            assert.deepEqual([expected, iova], [-1, 'ERR_VFIO_IOVA_SPACE']);
            continue;
          }
          if (order === 0) assert.equal(iova, iovaOf(expected));
          assert.equal(iova % BigInt(PAGE * 2 ** order), 0n);
          const first = Number(iova / BigInt(PAGE)) - origin;
          assert(first + pages <= (limit ?? SPACE));
          taken(first, pages);
        } else if (op.kind === 'reserve') {
          const { first, pages } = op;
          const result = attempt(() => allocator.reserve(iovaOf(first), pages * PAGE));
          if (result === undefined) taken(first, pages);
          else if (!naive.all(naive.inside, first, pages)) {
            assert.equal(result, 'ERR_VFIO_IOVA_OUTSIDE');
          } else {
            assert.equal(result, 'ERR_VFIO_IOVA_TAKEN');
            assert(!naive.all(naive.free, first, pages));
          }
        } else if (live.length > 0) {
          const [{ first, pages }] = live.splice(op.which % live.length, 1) as [(typeof live)[0]];
          allocator.free(iovaOf(first), pages * PAGE);
          naive.mark(first, pages, 1);
        }
        assert.equal(Number(allocator.freeBytes) / PAGE, naive.freePages);
      }
      for (const { first, pages } of live) allocator.free(iovaOf(first), pages * PAGE);
      for (const [first, end] of holes) {
        allocator.reserve(iovaOf(first), (end - first) * PAGE);
      }
      assert.equal(allocator.freeBytes, 0n);
    });
    fc.assert(property, { numRuns: 100, endOnFailure: true });
    expect(operations).toBe(50_000);
  });
});

/** What it returns, or the code of what it throws. */
function attempt<T>(operation: () => T): T | string {
  try {
    return operation();
  } catch (error) {
    if (error instanceof VfioError) return error.code;
    throw error;
  }
}
