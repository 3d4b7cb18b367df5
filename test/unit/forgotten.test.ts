/** What is garbage-collected without close(): it is reported, and nothing that a device may reach is freed. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { AddressSpace } from '../../src/dma/address-space';
import { FakeBackend } from './fake-backend';
import type { FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';

jest.mock('../../src/native', () => require('./fake-native'));

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

const PAGE = 4096;
let kernel: FakeKernel;
let warnings: string[];

beforeEach(() => {
  kernel = bootFakeKernel();
  // The fake is not to keep the memory alive.
  kernel.native.rangeBuffer = (_id, _offset, length) => new ArrayBuffer(length);
  warnings = [];
  jest.spyOn(process, 'emitWarning').mockImplementation((warning) => {
    warnings.push(String(warning));
  });
});

afterEach(() => jest.restoreAllMocks());

/** Collect garbage `times` times. */
async function collect(times: number, done: () => boolean = () => false): Promise<void> {
  for (let i = 0; i < times && !done(); i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/**
 * Collect garbage until what is to come of it has come. False, and said so, if the engine reports
 * nothing to anybody: so it is now and then in a process that has run many test files before.
 */
async function collected(done: () => boolean): Promise<boolean> {
  let reported = false;
  const control = new FinalizationRegistry(() => {
    reported = true;
  });
  (() => control.register({}, undefined))();
  await collect(100, done);
  if (done() || reported) return true;
  console.warn('skipped: this process reports nothing that was garbage-collected');
  return false;
}

/** The frames of its calls are gone when it is done. */
async function inside(what: () => Promise<void>): Promise<void> {
  await what();
  await new Promise(setImmediate);
}

const shared = () => new Uint8Array(new SharedArrayBuffer(PAGE));
const group = {};

async function openSpace(): Promise<[AddressSpace, FakeBackend]> {
  const backend = new FakeBackend();
  const space = new AddressSpace(backend);
  await space.join(group, backend.attach);
  return [space, backend];
}

async function end(space: AddressSpace, backend: FakeBackend): Promise<void> {
  await space.leave(group, backend.drop);
  await space.close();
  expect(kernel.leaks()).toEqual([]);
}

test('mappings and buffers that are forgotten stay mapped, and are reported once', async () => {
  const [space, backend] = await openSpace();
  await inside(async () => {
    for (let i = 0; i < 3; i++) await space.map(shared());
    await space.alloc(PAGE);
  });
  if (!(await collected(() => warnings.length > 0))) return;
  await collect(10);
  expect(backend.mapped.size).toBe(4);
  expect(warnings).toEqual([expect.stringContaining('garbage-collected without close()')]);
  await end(space, backend);
  expect(backend.mapped.size).toBe(0);
});

test('a buffer whose view is in use is not forgotten, nor is one that is closed', async () => {
  const [space, backend] = await openSpace();
  let view: Uint8Array | undefined;
  await inside(async () => {
    view = (await space.alloc(PAGE)).u8;
    await (await space.alloc(PAGE)).close();
    await (await space.map(shared())).close();
  });
  await collect(20);
  expect(warnings).toEqual([]);
  expect(view).toHaveLength(PAGE);
  await end(space, backend);
});

test('the memory of a buffer that was unmapped is released', async () => {
  const [space, backend] = await openSpace();
  backend.dirty.readAndUnmap = async (iova) => {
    backend.mapped.delete(iova);
    return new Uint8Array(8);
  };
  await inside(async () => {
    await space.dirty.last(await space.alloc(PAGE));
  });
  expect(kernel.leaks()).toEqual(['range']);
  if (!(await collected(() => kernel.leaks().length === 0))) return;
  expect([warnings, kernel.leaks()]).toEqual([[], []]);
  await end(space, backend);
});

test('a space without devices is closed, and reported', async () => {
  const backend = new FakeBackend();
  await inside(async () => {
    new AddressSpace(backend);
  });
  if (!(await collected(() => backend.closed))) return;
  expect(backend.closed).toBe(true);
  expect(warnings).toEqual([expect.stringContaining('an address space of type1v2')]);
});

test('a space is there as long as something in it is, and one that is closed is not reported', async () => {
  const backend = new FakeBackend();
  const closed = new FakeBackend();
  let mapping: { close(): Promise<void> } | undefined;
  await inside(async () => {
    const space = new AddressSpace(backend);
    await space.join(group, backend.attach);
    mapping = await space.map(shared());
    await new AddressSpace(closed).close();
  });
  await collect(20);
  expect([backend.closed, warnings]).toEqual([false, []]);
  await mapping?.close();
  expect(backend.mapped.size).toBe(0);
});
