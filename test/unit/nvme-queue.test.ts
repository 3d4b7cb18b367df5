import { IoBurst } from '../../examples/nvme/io-burst';
import { IoQueue } from '../../examples/nvme/io-queue';
import { DataPointer } from '../../examples/nvme/prp';
import { slotOf, statusOf } from '../../examples/nvme/queue';
import { Io } from '../../examples/nvme/registers';
import { FakeQueue } from './nvme-fake';

/** Slot and status of each completion, in order. */
function reap({ queue }: FakeQueue, budget: number): Array<[slot: number, status: number]> {
  const out = new Uint32Array(budget);
  const done = out.subarray(0, queue.reap(out, budget));
  queue.ring();
  return [...done].map((completion) => [slotOf(completion), statusOf(completion)]);
}

function push({ queue }: FakeQueue): number {
  return queue.slotAt(queue.push(Io.READ, 1));
}

test('a command is written where the controller fetches it, and told by one doorbell', () => {
  const fake = new FakeQueue(8, 3, 16);
  const { queue, bar } = fake;
  queue.words.fill(0xffff_ffff);
  const first = queue.pushCleared(Io.WRITE, 7);
  const slot = queue.slotAt(first);
  expect([...queue.words.subarray(first, first + 16)]).toEqual([
    Io.WRITE | (slot << 16),
    7,
    ...Array(14).fill(0),
  ]);
  expect(queue.push(Io.READ, 7)).toBe(first + 16);
  expect(bar.writes).toEqual([]);
  queue.ring();
  queue.ring();
  expect(bar.writes).toEqual([[0x1000 + 2 * 3 * 16, 2]]);
});

test('there is a slot less than entries, and none twice', () => {
  const fake = new FakeQueue(8);
  const slots = Array.from({ length: 7 }, () => push(fake));
  expect(new Set(slots).size).toBe(7);
  expect(fake.queue.full).toBe(true);
  expect(() => push(fake)).toThrow(RangeError);
  expect(fake.queue.inFlight).toBe(7);
});

/** Two buffers of a page and one that needs a second page, for commands of 8 blocks. */
function burstOf(slots: number) {
  const pointers = [0x10_0000n, 0x20_0000n, 0x30_0800n].map(
    (iova) => new DataPointer({ iova, size: 4096 }),
  );
  return { pointers, burst: new IoBurst({ pointers, blocks: 8, blockBytes: 512, slots }) };
}

test('a burst is what its commands are one by one', () => {
  const one = new FakeQueue(8);
  const many = new FakeQueue(8);
  const { pointers, burst } = burstOf(7);
  const commands = [
    [2, 0x8000_0000],
    [0, 16],
    [1, 0xffff_fff8],
  ] as const;
  const queue = new IoQueue(one.queue, 1, 512);
  for (const [i, [memory, lba]] of commands.entries()) {
    queue.read(lba, 8, pointers[memory]!);
    burst.memory[i] = memory;
    burst.lbas[i] = lba;
  }
  queue.write(3, 8, pointers[0]!);
  expect(new IoQueue(many.queue, 1, 512).readBurst(burst, 3)).toBe(3);
  burst.memory[0] = 0;
  burst.lbas[0] = 3;
  expect(new IoQueue(many.queue, 1, 512).writeBurst(burst, 1)).toBe(1);
  expect(many.queue.words).toEqual(one.queue.words);
  expect([...burst.memoryOf.subarray(0, 4)]).toEqual([2, 0, 1, 0]);
  many.complete(1);
  expect(reap(many, 8)).toEqual([[1, 0]]);
  expect(many.queue.inFlight).toBe(3);
});

test('a burst ends where slots do', () => {
  const fake = new FakeQueue(4);
  const { burst } = burstOf(3);
  push(fake);
  expect(new IoQueue(fake.queue, 1, 512).readBurst(burst, 3)).toBe(2);
  expect(fake.queue.full).toBe(true);
  expect(new IoQueue(fake.queue, 1, 512).readBurst(burst, 3)).toBe(0);
});

test.each([-1, 3, 0x7fff_ffff])(
  'memory %d of three is an error, after the commands before',
  (which) => {
    const fake = new FakeQueue(8);
    const { burst } = burstOf(7);
    burst.memory[1] = which;
    expect(() => new IoQueue(fake.queue, 1, 512).readBurst(burst, 3)).toThrow(RangeError);
    expect(fake.queue.inFlight).toBe(1);
    fake.complete(0);
    expect(reap(fake, 8)).toEqual([[0, 0]]);
    const slots = Array.from({ length: 7 }, () => push(fake));
    expect(new Set(slots).size).toBe(7);
  },
);

test('a burst of more than fits its memory is an error', () => {
  const pointers = [new DataPointer({ iova: 0x1000n, size: 4096 })];
  const options = { pointers, blocks: 9, blockBytes: 512, slots: 7 };
  expect(() => new IoBurst(options)).toThrow(RangeError);
});

test('completions come in any order, over many rounds of the phase tag', () => {
  const fake = new FakeQueue(4);
  let submitted = 0;
  for (let round = 0; round < 100; round++) {
    const slots = [push(fake), push(fake), push(fake)];
    submitted += 3;
    fake.complete(slots[2]!);
    fake.complete(slots[0]!, 0x4081);
    expect(reap(fake, 16)).toEqual([
      [slots[2], 0],
      [slots[0], 0x4081],
    ]);
    expect(fake.queue.isInFlight(slots[1]!)).toBe(true);
    fake.complete(slots[1]!);
    expect(reap(fake, 16)).toEqual([[slots[1], 0]]);
    expect(reap(fake, 16)).toEqual([]);
    expect(fake.bar.writes.at(-1)).toEqual([0x1000 + 3 * 4, submitted % 4]);
  }
  expect(fake.queue.inFlight).toBe(0);
  expect(fake.queue.unexpected).toBe(0);
});

test('a budget leaves the rest for the next time', () => {
  const fake = new FakeQueue(8);
  for (const slot of [push(fake), push(fake), push(fake)]) fake.complete(slot);
  expect(reap(fake, 2)).toHaveLength(2);
  expect(fake.bar.writes).toContainEqual([0x1000 + 3 * 4, 2]);
  expect(reap(fake, 2)).toHaveLength(1);
});

test('the slots of what was taken are free', () => {
  const fake = new FakeQueue(2);
  fake.complete(push(fake));
  expect(fake.queue.full).toBe(true);
  expect(reap(fake, 8)).toHaveLength(1);
  push(fake);
  expect(fake.queue.inFlight).toBe(1);
});

test('the result is that of the completion taken last', () => {
  const fake = new FakeQueue(4);
  fake.complete(push(fake), 0, 0x0007_0007);
  fake.complete(push(fake), 0, 0x0008_0008);
  expect(reap(fake, 1)).toHaveLength(1);
  expect(fake.queue.result).toBe(0x0007_0007);
  expect(reap(fake, 1)).toHaveLength(1);
  expect(fake.queue.result).toBe(0x0008_0008);
});

test('completions of unknown commands are counted and told to nobody', () => {
  const fake = new FakeQueue(4);
  fake.complete(0xffff);
  fake.complete(1);
  expect(reap(fake, 8)).toEqual([]);
  expect(fake.queue.unexpected).toBe(2);
});

test('after a restart nothing is under way, and old completions are none', () => {
  const fake = new FakeQueue(4);
  fake.complete(push(fake));
  fake.queue.restart();
  expect(fake.queue.inFlight).toBe(0);
  expect(reap(fake, 8)).toEqual([]);
});

test.each([0, 1, 3, 131_072])('no queue of %d entries', (entries) => {
  expect(() => new FakeQueue(entries)).toThrow(RangeError);
});
