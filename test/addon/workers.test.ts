import { ftruncateSync, readFileSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { MEMORY_ANONYMOUS, MEMORY_DEVICE, MEMORY_FILE, native } from '../../src/native';
import {
  address,
  buffer,
  errno,
  mappedRange,
  mappingAt,
  memoryFile,
  message,
  openFiles,
  PAGE,
  registers,
  runChild,
  startWorker,
  statusFlags,
} from './support';

const workers: Worker[] = [];

function start(): Worker {
  const worker = startWorker('worker.cjs');
  workers.push(worker);
  return worker;
}

afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
});

/** Has the worker do something; its answer. */
function ask<T = number>(worker: Worker, action: string, rest: object = {}): Promise<T> {
  const answer = message<T>(worker);
  worker.postMessage({ action, ...rest });
  return answer;
}

const exit = (worker: Worker) => new Promise((done) => worker.once('exit', done));

type Acquired = { range: number; fds: number[]; address: bigint };

/** Nothing of what the worker had is left. */
function expectReleased({ range, fds, address: start }: Acquired): void {
  const files = openFiles();
  for (const fd of fds) expect(files.get(fd) ?? '').not.toMatch(/eventfd|zero/);
  expect(native.rangeAttach(range)).toBe(-errno.EBADF);
  expect(mappingAt(start)?.line ?? '').not.toMatch(/ rw-s /);
}

test('a worker that is terminated releases all it has', async () => {
  for (let round = 0; round < 5; round++) {
    const worker = start();
    const acquired = await ask<Acquired>(worker, 'acquire');
    expect(openFiles().get(acquired.fds[1]!)).toMatch(/eventfd/);
    await worker.terminate();
    expectReleased(acquired);
  }
});

test.each(['exit', 'throw'])('a worker that ends by %s releases all it has', async (action) => {
  const worker = start();
  const acquired = await ask<Acquired>(worker, 'acquire');
  const ended = exit(worker);
  worker.on('error', ({ message: text }) => expect(text).toBe('from worker'));
  worker.postMessage({ action });
  await ended;
  expectReleased(acquired);
});

test('a worker that is terminated in a listener releases all it has', async () => {
  const worker = start();
  const acquired = await ask<Acquired>(worker, 'acquire');
  for (let i = 0; i < 20; i++) {
    worker.postMessage({ action: 'call', name: 'eventfdWrite', args: [acquired.fds[1], 1] });
  }
  await worker.terminate();
  expectReleased(acquired);
});

test('several workers at once have their own descriptors and ranges', async () => {
  const four = [start(), start(), start(), start()];
  const acquired = await Promise.all(four.map((worker) => ask<Acquired>(worker, 'acquire')));
  expect(new Set(acquired.map(({ range }) => range)).size).toBe(4);
  expect(new Set(acquired.flatMap(({ fds }) => fds)).size).toBe(36);
  const [first] = acquired;
  expect(native.close(first!.fds[0]!)).toBe(-errno.EBADF);
  expect(native.eventfdWrite(first!.fds[1]!, 1)).toBe(-errno.EBADF);
  expect(native.rangeLength(first!.range)).toBe(-errno.EBADF);
  await Promise.all(four.map((worker) => worker.terminate()));
  acquired.forEach(expectReleased);
});

test('a range is shared by its id', async () => {
  const range = mappedRange(1, MEMORY_ANONYMOUS);
  const words = new Uint32Array(buffer(range, 0, PAGE));
  const worker = start();
  expect(await ask(worker, 'call', { name: 'rangeLength', args: [range] })).toBe(-errno.EBADF);
  expect(await ask(worker, 'attach', { range })).toBe(0);
  await ask(worker, 'call', { name: 'rangeBuffer', args: [range, 0, PAGE] });
  expect(await ask(worker, 'store', { index: 3, value: 77 })).toBe(77);
  expect(words[3]).toBe(77);
  await worker.terminate();
  words[3] = 78;
  expect(words[3]).toBe(78);
  native.rangeRelease(range);
});

test('a range lives until its last environment releases it', async () => {
  const fd = memoryFile(PAGE);
  const range = mappedRange(1, MEMORY_FILE, fd);
  const start_ = address(range);
  const mine = registers(range, 0, PAGE);
  mine.write32(0, 5);
  const worker = start();
  await ask(worker, 'attach', { range });
  await ask(worker, 'call', { name: 'rangeRegisters', args: [range, 0, PAGE] });
  native.rangeRelease(range);
  native.close(fd);
  expect(mine.read32(0)).toBe(-errno.EBADF);
  expect(await ask(worker, 'access', { name: 'read32', args: [0] })).toBe(5);
  expect(mappingAt(start_)?.line).toMatch(/ rw-s /);
  expect(await ask(worker, 'call', { name: 'rangeRelease', args: [range] })).toBe(0);
  expect(await ask(worker, 'access', { name: 'read32', args: [0] })).toBe(-errno.EBADF);
  expect(mappingAt(start_)?.line ?? '').not.toMatch(/ rw-s /);
});

test('a worker may be terminated while it reads a shared view in a loop', async () => {
  for (let round = 0; round < 5; round++) {
    const range = mappedRange(1, MEMORY_ANONYMOUS);
    const worker = start();
    await ask(worker, 'attach', { range });
    await ask(worker, 'call', { name: 'rangeBuffer', args: [range, 0, PAGE] });
    expect(await ask(worker, 'spin')).toBe('spinning');
    native.rangeRelease(range);
    await worker.terminate();
    expect(native.rangeAttach(range)).toBe(-errno.EBADF);
  }
});

test('a fault in one environment is seen in all that share the range', async () => {
  const fd = memoryFile(PAGE);
  const range = mappedRange(1, MEMORY_DEVICE, fd);
  const mine = registers(range, 0, PAGE);
  const worker = start();
  await ask(worker, 'attach', { range });
  await ask(worker, 'call', { name: 'rangeRegisters', args: [range, 0, PAGE] });
  ftruncateSync(fd, 0);
  expect(await ask(worker, 'access', { name: 'read32', args: [0] })).toBe(-errno.EIO);
  expect(native.rangeFaults(range)).toBe(1);
  expect(mine.read32(0)).toBe(-errno.EIO);
  ftruncateSync(fd, PAGE);
  // The worker restores it from the descriptor of this environment.
  expect(await ask(worker, 'call', { name: 'rangeRestore', args: [range] })).toBe(0);
  expect(mine.read32(0)).toBe(0);
  native.rangeRelease(range);
  native.close(fd);
});

test('an addon that only workers have loaded stays in memory', () => {
  const { status, signal, stdout, stderr } = runChild('only-workers.cjs');
  expect([status, signal, stderr]).toEqual([0, null, '']);
  expect(stdout.trim().split('\n')).toEqual(['still loaded', '4294967295']);
});

const canTransfer = 'transfer' in ArrayBuffer.prototype; // Node 22 on
if (!canTransfer) console.warn('no ArrayBuffer.prototype.transfer: its test is skipped');
(canTransfer ? test : test.skip)('a view that outlives its worker stays harmless', async () => {
  const worker = start();
  const { range } = await ask<Acquired>(worker, 'acquire');
  await ask(worker, 'call', { name: 'rangeBuffer', args: [range, 0, PAGE] });
  expect(await ask(worker, 'store', { index: 0, value: 9 })).toBe(9);
  const escaped = new Uint32Array(await ask<ArrayBuffer>(worker, 'transfer'));
  expect(escaped[0]).toBe(9);
  await worker.terminate();
  expect(escaped[0]).toBe(0);
  escaped[0] = 1;
  // Its addresses are not given away.
  const fresh = Array.from({ length: 50 }, () => mappedRange(1, MEMORY_ANONYMOUS));
  for (const id of fresh) {
    expect(new Uint32Array(buffer(id, 0, 4))[0]).toBe(0);
    native.rangeRelease(id);
  }
  expect(escaped[0]).toBe(1);
});

test('a worker ends while its descriptors are being closed', async () => {
  for (let round = 0; round < 10; round++) {
    const worker = start();
    const fds = await ask<number[]>(worker, 'closing', { count: 50 });
    await worker.terminate();
    const files = openFiles();
    for (const fd of fds) expect(files.get(fd) ?? '').not.toMatch(/zero/);
  }
});

test('workers that end without a close leave no mapping for each of their views', async () => {
  const mappings = () => readFileSync('/proc/self/maps', 'utf8').split('\n').length;
  const before = mappings();
  for (let round = 0; round < 5; round++) {
    const worker = start();
    expect(await ask(worker, 'views', { count: 200 })).toBe(200);
    await worker.terminate();
  }
  expect(mappings() - before).toBeLessThan(200);
});

describe('farewells', () => {
  /** FIONBIO: sets O_NONBLOCK of the open file, whoever has a descriptor of it, if its int is not 0. */
  const FIONBIO = 0x5421;
  const O_NONBLOCK = 0o4000;
  const argument = () => Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 0);

  test.each(['exit', 'throw', 'terminate'])('are said when the worker ends by %s', async (end) => {
    const file = memoryFile(PAGE);
    native.pwrite(file, Uint8Array.of(0xff, 0xff), 6);
    const other = memoryFile(PAGE);
    const worker = start();
    worker.on('error', () => {});
    const call = (name: string, ...args: unknown[]) => ask(worker, 'call', { name, args });
    const [ownFile, ownOther] = [await call('duplicateFd', file), await call('duplicateFd', other)];
    const memory = new Uint8Array(new SharedArrayBuffer(PAGE));
    expect(await call('farewellClearBits', ownFile, 6, 0x0104)).toBeGreaterThan(0);
    const cancelled = await call('farewellClearBits', ownFile, 6, 0x0002);
    expect(await call('farewellCancel', cancelled)).toBe(0);
    expect(await call('farewellCancel', cancelled)).toBe(-errno.ENOENT);
    const made = await call('farewellRequest', ownOther, FIONBIO, argument(), memory);
    expect(made).toBeGreaterThan(0);
    expect(statusFlags(other) & O_NONBLOCK).toBe(0);

    if (end === 'terminate') {
      await worker.terminate();
    } else {
      worker.postMessage({ action: end });
      await exit(worker);
    }
    const word = new Uint8Array(2);
    native.pread(file, word, 6);
    expect([...word]).toEqual([0xfb, 0xfe]);
    expect(statusFlags(other) & O_NONBLOCK).toBe(O_NONBLOCK);
    native.close(file);
    native.close(other);
  });

  test('are not said to files that were closed before, nor where they are wrong', async () => {
    const other = memoryFile(PAGE);
    const worker = start();
    const call = (name: string, ...args: unknown[]) => ask(worker, 'call', { name, args });
    const own = await call('duplicateFd', other);
    await call('farewellRequest', own, FIONBIO, argument(), new Uint8Array(1));
    await call('close', own);
    expect(await call('farewellRequest', own, FIONBIO, argument(), new Uint8Array(1))).toBe(
      -errno.EBADF,
    );
    const third = await call('duplicateFd', other);
    expect(await call('farewellRequest', third, FIONBIO, argument(), 'memory')).toBe(-errno.EINVAL);
    expect(await call('farewellClearBits', third, 0, 0x10000)).toBe(-errno.EINVAL);
    await worker.terminate();
    expect(statusFlags(other) & O_NONBLOCK).toBe(0);
    native.close(other);
  });
});
