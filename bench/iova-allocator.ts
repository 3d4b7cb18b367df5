/**
 * What an IOVA costs, in ns per allocate + free, by how many allocations are live.
 *
 *   npm run build && node build/bench/iova-allocator.js
 */
import { IovaAllocator, type IovaConstraints } from '../src/dma/iova-allocator';

const PAGE = 4096;
const MIB = 1 << 20;
const LIVE = [10, 1_000, 65_000];
const ROUNDS = 7;
const ITERATIONS = 100_000;
/** As VT-d reports them. */
const RANGES = [
  { start: 0n, end: 0xfedf_ffffn },
  { start: 0xfef0_0000n, end: (1n << 48n) - 1n },
];

/** `live` single pages without a hole between them. */
function packed(live: number): IovaAllocator {
  const allocator = new IovaAllocator(RANGES, PAGE);
  for (let i = 0; i < live; i++) allocator.allocate(PAGE);
  return allocator;
}

/** `live` single pages with a hole of one page after each: the most holes there can be. */
function checkerboard(live: number): IovaAllocator {
  const allocator = new IovaAllocator(RANGES, PAGE);
  const pages = Array.from({ length: 2 * live }, () => allocator.allocate(PAGE));
  for (let i = 0; i < pages.length; i += 2) allocator.free(pages[i]!, PAGE);
  return allocator;
}

function nsEach(operation: (i: number) => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < ITERATIONS; i++) operation(i);
    best = Math.min(best, Number(process.hrtime.bigint() - start) / ITERATIONS);
  }
  return best;
}

function allocateAndFree(
  prepare: (live: number) => IovaAllocator,
  size: number,
  constraints: IovaConstraints = {},
): (live: number) => number {
  return (live) => {
    const allocator = prepare(live);
    return nsEach(() => allocator.free(allocator.allocate(size, constraints), size));
  };
}

/** Take a hole anywhere in the checkerboard by its address. */
function reserveAndFree(live: number): number {
  const allocator = checkerboard(live);
  return nsEach((i) => {
    const iova = BigInt(1 + 2 * ((i * 7_919) % live)) * BigInt(PAGE);
    allocator.reserve(iova, PAGE);
    allocator.free(iova, PAGE);
  });
}

/** Every time another buffer, of 1 to 16 pages, goes and comes back with a new size. */
function churn(live: number): number {
  const allocator = new IovaAllocator(RANGES, PAGE);
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const sizes = Array.from({ length: live }, () => (1 + random(16)) * PAGE);
  const iovas = sizes.map((size) => allocator.allocate(size));
  return nsEach(() => {
    const i = random(live);
    allocator.free(iovas[i]!, sizes[i]!);
    sizes[i] = (1 + random(16)) * PAGE;
    iovas[i] = allocator.allocate(sizes[i]!);
  });
}

const cases: Array<[string, (live: number) => number]> = [
  ['packed, 1 page', allocateAndFree(packed, PAGE)],
  ['random sizes, random order', churn],
  ['checkerboard, 1 page (a hole)', allocateAndFree(checkerboard, PAGE)],
  ['checkerboard, 2 pages (no hole fits)', allocateAndFree(checkerboard, 2 * PAGE)],
  [
    'checkerboard, 2 pages below 4 GiB',
    allocateAndFree(checkerboard, 2 * PAGE, { maxIova: 0xffff_ffffn }),
  ],
  ['checkerboard, 2 MiB aligned', allocateAndFree(checkerboard, 2 * MIB, { alignment: 2 * MIB })],
  [
    'checkerboard, 1 page, no hole aligned',
    allocateAndFree(checkerboard, PAGE, { alignment: 2 * PAGE }),
  ],
  ['checkerboard, reserve a hole', reserveAndFree],
];

console.log(`ns per allocate + free, best of ${ROUNDS}, Node ${process.version}`);
console.log(`${'live allocations'.padEnd(40)}${LIVE.map((n) => String(n).padStart(8)).join('')}`);
for (const [name, measure] of cases) {
  const row = LIVE.map((live) => measure(live).toFixed(0).padStart(8));
  console.log(`${name.padEnd(40)}${row.join('')}`);
}
