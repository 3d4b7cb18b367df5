import { Io } from '../../examples/nvme/registers';
import { FakeQueue } from './nvme-fake';

const NONE = { completed: () => {} };

/** Slot and status of each completion, in order. */
function collect() {
  const seen: Array<[number, number]> = [];
  return { seen, completed: (slot: number, status: number) => void seen.push([slot, status]) };
}

function push({ queue }: FakeQueue): number {
  expect(queue.claim(Io.READ, 1)).toBeGreaterThanOrEqual(0);
  return queue.push();
}

test('a command is written where the controller fetches it, and told by one doorbell', () => {
  const fake = new FakeQueue(8, 3, 16);
  const { queue, bar } = fake;
  queue.words.fill(0xffff_ffff);
  const first = queue.claimCleared(Io.WRITE, 7);
  expect(queue.claimCleared(Io.WRITE, 7)).toBe(first);
  const slot = queue.push();
  expect([...queue.words.subarray(first, first + 16)]).toEqual([
    Io.WRITE | (slot << 16),
    7,
    ...Array(14).fill(0),
  ]);
  expect(queue.claim(Io.READ, 7)).toBe(first + 16);
  queue.push();
  expect(bar.writes).toEqual([]);
  queue.ring();
  queue.ring();
  expect(bar.writes).toEqual([[0x1000 + 2 * 3 * 16, 2]]);
});

test('there is a slot less than entries, and none twice', () => {
  const fake = new FakeQueue(8);
  const slots = Array.from({ length: 7 }, () => push(fake));
  expect(new Set(slots).size).toBe(7);
  expect(fake.queue.claim(Io.READ, 1)).toBe(-1);
  expect(fake.queue.inFlight).toBe(7);
});

test('completions come in any order, over many rounds of the phase tag', () => {
  const fake = new FakeQueue(4);
  let submitted = 0;
  for (let round = 0; round < 100; round++) {
    const slots = [push(fake), push(fake), push(fake)];
    submitted += 3;
    fake.complete(slots[2]!);
    fake.complete(slots[0]!, 0x4081);
    const sink = collect();
    expect(fake.queue.reap(sink, 16)).toBe(2);
    expect(sink.seen).toEqual([
      [slots[2], 0],
      [slots[0], 0x4081],
    ]);
    expect(fake.queue.isInFlight(slots[1]!)).toBe(true);
    fake.complete(slots[1]!);
    expect(fake.queue.reap(NONE, 16)).toBe(1);
    expect(fake.queue.reap(NONE, 16)).toBe(0);
    expect(fake.bar.writes.at(-1)).toEqual([0x1000 + 3 * 4, submitted % 4]);
  }
  expect(fake.queue.inFlight).toBe(0);
  expect(fake.queue.unexpected).toBe(0);
});

test('a budget leaves the rest for the next time', () => {
  const fake = new FakeQueue(8);
  for (const slot of [push(fake), push(fake), push(fake)]) fake.complete(slot);
  expect(fake.queue.reap(NONE, 2)).toBe(2);
  expect(fake.bar.writes.at(-1)![1]).toBe(2);
  expect(fake.queue.reap(NONE, 2)).toBe(1);
});

test('a sink may submit the next command', () => {
  const fake = new FakeQueue(2);
  fake.complete(push(fake));
  const sink = { completed: () => void push(fake) };
  expect(fake.queue.reap(sink, 8)).toBe(1);
  expect(fake.queue.inFlight).toBe(1);
});

test('what a sink throws loses no completion', () => {
  const fake = new FakeQueue(8);
  fake.complete(push(fake));
  const broken = {
    completed: () => {
      throw new Error('sink');
    },
  };
  expect(() => fake.queue.reap(broken, 8)).toThrow('sink');
  expect(fake.queue.reap(NONE, 8)).toBe(0);
  expect(fake.bar.writes.at(-1)).toEqual([0x1000 + 3 * 4, 1]);
});

test('the result of a command is there during its completion', () => {
  const fake = new FakeQueue(4);
  fake.complete(push(fake), 0, 0x0007_0007);
  const results: number[] = [];
  fake.queue.reap({ completed: () => void results.push(fake.queue.result) }, 1);
  expect(results).toEqual([0x0007_0007]);
});

test('completions of unknown commands are counted and told to nobody', () => {
  const fake = new FakeQueue(4);
  fake.complete(0xffff);
  fake.complete(1);
  const sink = collect();
  expect(fake.queue.reap(sink, 8)).toBe(2);
  expect(sink.seen).toEqual([]);
  expect(fake.queue.unexpected).toBe(2);
});

test('after a restart nothing is under way, and old completions are none', () => {
  const fake = new FakeQueue(4);
  fake.complete(push(fake));
  fake.queue.restart();
  expect(fake.queue.inFlight).toBe(0);
  expect(fake.queue.reap(NONE, 8)).toBe(0);
});

test.each([0, 1, 3, 131_072])('no queue of %d entries', (entries) => {
  expect(() => new FakeQueue(entries)).toThrow(RangeError);
});
