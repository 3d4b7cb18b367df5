import fc from 'fast-check';
import { IovaAllocator } from '../../src/dma/iova-allocator';

const PAGE = 4096;
/** As VT-d reports them: a hole for the MSI window. */
const ranges = [
  { start: 0n, end: 0xfedf_ffffn },
  { start: 0xfef0_0000n, end: (1n << 48n) - 1n },
];

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

test('random allocations and frees never overlap or leave the ranges, and nothing is lost', () => {
  const step = fc.record({
    pages: fc.integer({ min: 1, max: 64 }),
    alignment: fc.constantFrom(PAGE, 1 << 14, 1 << 21),
    free: fc.boolean(),
    which: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const allocator = new IovaAllocator(ranges, PAGE);
      const total = allocator.freeBytes;
      const live: Array<{ iova: bigint; size: number }> = [];
      for (const { pages, alignment, free, which } of steps) {
        if (free && live.length > 0) {
          const [{ iova, size }] = live.splice(which % live.length, 1) as [(typeof live)[0]];
          allocator.free(iova, size);
          continue;
        }
        const size = pages * PAGE;
        const iova = allocator.allocate(size, { alignment });
        const end = iova + BigInt(size);
        expect(iova % BigInt(alignment)).toBe(0n);
        expect(ranges.some((r) => iova >= r.start && end - 1n <= r.end)).toBe(true);
        expect(live.some((o) => iova < o.iova + BigInt(o.size) && o.iova < end)).toBe(false);
        live.push({ iova, size });
      }
      for (const { iova, size } of live) allocator.free(iova, size);
      expect(allocator.freeBytes).toBe(total);
    }),
  );
});
