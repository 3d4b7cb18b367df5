import assert from 'node:assert/strict';
import { FreeRuns } from '../../src/dma/free-runs';

const PAGES = 8192;

/** Runs of set bytes: [first, end). */
function runsOf(free: Uint8Array): Array<[number, number]> {
  const runs: Array<[number, number]> = [];
  for (let first = free.indexOf(1); first >= 0; ) {
    const end = free.indexOf(0, first);
    runs.push([first, end < 0 ? free.length : end]);
    first = end < 0 ? -1 : free.indexOf(1, end);
  }
  return runs;
}

function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test('nothing is free at first', () => {
  const runs = new FreeRuns();
  expect([runs.pages, runs.longest, runs.height]).toEqual([0, 0, 1]);
  expect(runs.find(1, 1, Number.POSITIVE_INFINITY)).toBe(-1);
  expect(runs.take(5, 6)).toBe(false);
});

test.each([1, 2, 3])('a long walk agrees with an array of pages (seed %d)', (seed) => {
  const random = randomFrom(seed);
  const runs = new FreeRuns();
  const free = new Uint8Array(PAGES);
  let highest = 0;
  for (let i = 0; i < 30_000; i++) {
    // It drifts from mostly adding to mostly taking and back: the tree grows and shrinks.
    const adding = random(10) < (Math.floor(i / 5_000) % 2 === 0 ? 7 : 3);
    const first = random(PAGES);
    const end = Math.min(PAGES, first + 1 + (random(4) === 0 ? random(30) : 0));
    const part = free.subarray(first, end);
    const possible = part.every((is) => is === (adding ? 0 : 1));
    assert.equal(adding ? runs.add(first, end) : runs.take(first, end), possible);
    if (possible) part.fill(adding ? 1 : 0);
    highest = Math.max(highest, runs.height);
    if (i % 500 !== 0) continue;
    const expected = runsOf(free);
    const lengths = expected.map(([first, end]) => end - first);
    expect(runs.pages).toBe(lengths.reduce((sum, length) => sum + length, 0));
    expect(runs.longest).toBe(Math.max(0, ...lengths));
    for (const pages of [1, 2, 3, 8, 21, runs.longest, runs.longest + 1]) {
      const fit = expected.find(([first, end]) => end - Math.max(first, 1) >= pages);
      expect(runs.find(Math.max(1, pages), 1, PAGES)).toBe(fit ? Math.max(1, fit[0]) : -1);
    }
  }
  expect(highest).toBeGreaterThan(2);
  for (const [first, end] of runsOf(free)) expect(runs.take(first, end)).toBe(true);
  expect([runs.pages, runs.longest, runs.height]).toEqual([0, 0, 1]);
});

test('the tree stays flat however the runs come', () => {
  const orders: Record<string, (i: number) => number> = {
    ascending: (i) => i,
    descending: (i) => 65_535 - i,
    scattered: (i) => (i * 40_503) % 65_536,
  };
  for (const order of Object.values(orders)) {
    const runs = new FreeRuns();
    for (let i = 0; i < 65_536; i++) runs.add(1 + 2 * order(i), 2 + 2 * order(i));
    expect(runs.pages).toBe(65_536);
    // Nodes of 16 entries, half full at least: 8^6 > 65,536.
    expect(runs.height).toBeLessThanOrEqual(6);
    for (let i = 0; i < 65_536; i++) runs.take(1 + 2 * order(i), 2 + 2 * order(i));
    expect([runs.pages, runs.height]).toEqual([0, 1]);
  }
});

test('thinned out to one run per node, it still finds, joins and empties', () => {
  const runs = new FreeRuns();
  for (let i = 0; i < 4096; i++) runs.add(2 * i + 1, 2 * i + 2);
  for (let i = 0; i < 4096; i++) if (i % 8 !== 0) runs.take(2 * i + 1, 2 * i + 2);
  expect(runs.pages).toBe(512);
  for (let i = 0; i < 4096; i += 8) expect(runs.add(2 * i + 2, 2 * i + 17)).toBe(true);
  expect(runs.longest).toBe(8192);
  expect(runs.height).toBe(1);
  expect(runs.find(8192, 1, Number.POSITIVE_INFINITY)).toBe(1);
});

test('page numbers are exact at the end of 64 bits', () => {
  const runs = new FreeRuns();
  const top = 2 ** 52;
  runs.add(1, top);
  expect(runs.take(top - 1, top)).toBe(true);
  expect(runs.take(top - 3, top - 2)).toBe(true);
  expect(runs.find(1, 1, top)).toBe(1);
  expect(runs.take(1, top - 3)).toBe(true);
  expect(runs.find(1, 1, top)).toBe(top - 2);
  expect(runs.pages).toBe(1);
});

test('among many misaligned runs, the one that fits is found when nothing roomier is there', () => {
  const runs = new FreeRuns();
  for (let page = 1; page < 200; page += 2) runs.add(page, page + 1);
  expect(runs.find(1, 2, Number.POSITIVE_INFINITY)).toBe(-1);
  runs.add(202, 203);
  expect(runs.find(1, 2, Number.POSITIVE_INFINITY)).toBe(202);
  expect(runs.find(1, 2, 202)).toBe(-1);
  // It does not go on looking for the lowest once a longer run makes that needless.
  runs.add(301, 303);
  expect(runs.find(1, 2, Number.POSITIVE_INFINITY)).toBe(302);
});

test('nodes are used again', () => {
  const runs = new FreeRuns();
  const fillAndEmpty = () => {
    for (let i = 0; i < 8192; i++) runs.add(2 * i + 1, 2 * i + 2);
    for (let i = 0; i < 8192; i++) runs.take(2 * i + 1, 2 * i + 2);
  };
  fillAndEmpty();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 20; i++) fillAndEmpty();
  // Were they not, 20,000 nodes of 320 bytes.
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
});
