/**
 * Whatever JavaScript passes to the parts of an address space: it is refused by a VfioError, nothing stays
 * half done, and the kernel is asked only for addresses and sizes that the library or the engine has given.
 */
import { constants } from 'node:os';
import { runInNewContext } from 'node:vm';
import { AddressSpace } from '../../src/dma/address-space';
import { attachMemory } from '../../src/dma/attached-memory';
import { openAddressSpace } from '../../src/dma/open';
import { declarePeer } from '../../src/dma/peer-region';
import type { SharedMemory } from '../../src/dma/shared-memory';
import { VfioError } from '../../src/errors';
import { FakeBackend } from './fake-backend';
import type { FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';

jest.mock('../../src/native', () => require('./fake-native'));

const PAGE = 4096;
const MEMORY = 0x7f00_0000_0000n;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });
const invalid = code('ERR_VFIO_INVALID_ARGUMENT');

let kernel: FakeKernel;
let backend: FakeBackend;
let space: AddressSpace;
/** What the kernel was asked to map: address and size. */
let asked: Array<[bigint, bigint]>;
const group = {};

beforeEach(async () => {
  kernel = bootFakeKernel();
  const reserve = kernel.native.rangeReserve;
  kernel.native.rangeReserve = (length, alignment) =>
    length > 1 << 26 ? -constants.errno.ENOMEM : reserve(length, alignment);
  backend = new FakeBackend();
  asked = [];
  const map = backend.map.bind(backend);
  backend.map = (vaddr, iova, size) => {
    asked.push([vaddr, size]);
    return map(vaddr, iova, size);
  };
  space = new AddressSpace(backend);
  await space.join(group, backend.attach);
});

afterEach(async () => {
  await space.leave(group, backend.drop);
  await space.close();
  expect(kernel.leaks()).toEqual([]);
});

// biome-ignore lint/suspicious/noExplicitAny: what JavaScript may pass, and TypeScript would not.
type Any = any;

class Liar extends Uint8Array<SharedArrayBuffer> {
  override get byteLength() {
    return 1 << 20;
  }
}

const shared = (bytes = PAGE) => new SharedArrayBuffer(bytes);
const hidden = (memory: object, name: PropertyKey, value: unknown) =>
  Object.defineProperty(memory, name, { get: () => value }) as SharedMemory;

describe('memory of JavaScript', () => {
  test.each<[string, () => SharedMemory]>([
    ['a subclass with a length of its own', () => new Liar(shared())],
    ['a property of its own', () => hidden(new Uint8Array(shared()), 'byteLength', 1 << 20)],
    ['another length', () => hidden(new Uint8Array(shared()), 'length', 1 << 20)],
    ['another buffer', () => hidden(new Uint8Array(shared()), 'buffer', shared(1 << 20))],
    ['another offset', () => hidden(new Uint8Array(shared()), 'byteOffset', 1 << 20)],
    ['another realm', () => runInNewContext(`new Uint8Array(new SharedArrayBuffer(${PAGE}))`)],
  ])('is as long as the engine says: %s', async (_, memory) => {
    await space.map(memory());
    expect(asked).toEqual([[MEMORY, BigInt(PAGE)]]);
  });

  test.each<[string, () => unknown]>([
    ['an ArrayBuffer', () => new Uint8Array(PAGE)],
    [
      'a resizable ArrayBuffer',
      () => new Uint8Array(new (ArrayBuffer as Any)(PAGE, { maxByteLength: 1 << 20 })),
    ],
    ['one that calls itself shared', () => hidden(new Uint8Array(PAGE), 'buffer', shared())],
    [
      'a buffer that calls itself shared',
      () =>
        new Uint8Array(
          hidden(new ArrayBuffer(PAGE), Symbol.toStringTag, 'SharedArrayBuffer') as Any,
        ),
    ],
    ['other elements', () => new Uint32Array(shared())],
    ['a DataView', () => new DataView(shared())],
    ['a buffer without a view', () => shared()],
    ['no view at all', () => ({ buffer: shared(), byteLength: PAGE, byteOffset: 0 })],
    ['an object in its place', () => Object.create(new Uint8Array(shared()))],
    ['a proxy', () => new Proxy(new Uint8Array(shared()), {})],
    ['no bytes', () => new Uint8Array(shared(0))],
    ['less than a page', () => new Uint8Array(shared(), 0, 100)],
    ...[undefined, null, 0, 5n, 'memory', Symbol('memory'), () => {}].map(
      (value) => [`${typeof value} ${String(value)}`, () => value] as [string, () => unknown],
    ),
  ])('is refused: %s', async (_, memory) => {
    await expect(space.map(memory() as Any)).rejects.toThrow(invalid);
    const mapping = await space.map(new Uint8Array(shared()));
    await expect(space.updateVaddr(mapping, memory() as Any)).rejects.toThrow(VfioError);
    expect(asked).toEqual([[MEMORY, BigInt(PAGE)]]);
  });

  test('that grows stays mapped as it was, also in a new space of the kernel', async () => {
    const growing = new (SharedArrayBuffer as Any)(PAGE, { maxByteLength: 1 << 20 });
    const [first, next] = [await space.map(new Uint8Array(growing)), await space.alloc(PAGE)];
    growing.grow(8 * PAGE);
    await space.leave(group, backend.drop);
    await space.join(group, backend.attach);
    expect([...backend.mapped]).toEqual([
      [first.iova, BigInt(PAGE)],
      [next.iova, BigInt(PAGE)],
    ]);
    first.suspend();
    first.resume();
    expect(backend.mapped.get(first.iova)).toBe(BigInt(PAGE));
  });

  test('gets another address only for as many bytes as are mapped', async () => {
    const updates: unknown[] = [];
    Object.assign(backend, { updateVaddr: async (...update: unknown[]) => updates.push(update) });
    const mapping = await space.map(new Uint8Array(shared(2 * PAGE)));
    const liar = hidden(new Uint8Array(shared(PAGE)), 'byteLength', 2 * PAGE);
    await expect(space.updateVaddr(mapping, liar)).rejects.toThrow(invalid);
    expect(updates).toEqual([]);
    await space.updateVaddr(mapping, hidden(new Uint8Array(shared(2 * PAGE)), 'byteLength', 1));
    expect(updates).toEqual([[MEMORY, mapping.iova, BigInt(2 * PAGE)]]);
  });
});

describe('a region', () => {
  const address = 0x7000_0000_0000n;
  const peer = () => ({ size: 4 * PAGE, address, exportDmaBuf: () => -1 });

  test.each<[string, () => unknown]>([
    ['an object like one', peer],
    [
      'one that inherits from a region',
      () => {
        const region = peer();
        declarePeer(region, { ...region, address: () => address });
        return Object.create(region);
      },
    ],
    ['nothing', () => undefined],
    ['null', () => null],
    ['an address', () => address],
  ])('is refused unless a device has declared it: %s', async (_, region) => {
    await expect(space.mapRegion(region() as Any)).rejects.toThrow(invalid);
    expect(asked).toEqual([]);
  });

  test('is where its device says, whatever its properties are by now', async () => {
    const region = peer();
    declarePeer(region, { ...region, address: () => address });
    Object.assign(region, { address: 0x1234_0000n, size: 1 << 30 });
    await space.mapRegion(region);
    await expect(space.mapRegion(region, { size: 5 * PAGE })).rejects.toThrow(
      code('ERR_VFIO_OUT_OF_RANGE'),
    );
    expect(asked).toEqual([[address, BigInt(4 * PAGE)]]);
  });
});

const values: unknown[] = [
  ...[null, true, false, '', '4096', 'x', Symbol('x'), () => {}, {}, [], [4096], new Date(0)],
  ...[
    0,
    -1,
    1,
    1.5,
    4095,
    4096,
    -4096,
    2 ** 31,
    2 ** 32,
    2 ** 53,
    1e300,
    Number.NaN,
    Number.POSITIVE_INFINITY,
  ],
  ...[0n, -1n, 1n, 4096n, -4096n, 2n ** 63n, 2n ** 64n, 2n ** 80n],
  Object.create(null),
  { valueOf: () => PAGE },
];

/** What is passed where, and what must not be more than a refusal. */
const calls: Record<string, (value: Any) => unknown> = {
  'alloc size': (value) => space.alloc(value),
  'alloc options': (value) => space.alloc(PAGE, value),
  ...Object.fromEntries(
    [
      ...['iova', 'maxIova', 'alignment', 'access', 'onProgress', 'signal'],
      ...['hugePages', 'hugePageSize', 'offset', 'size'],
    ].map((name) => [
      `option ${name}`,
      async (value: unknown) => {
        const region = { size: 4 * PAGE, address: 0n, exportDmaBuf: () => -1 };
        declarePeer(region, { ...region, address: () => 0x7000_0000_0000n });
        const options = { [name]: value } as Any;
        const all = [
          space.alloc(PAGE, options),
          space.map(new Uint8Array(shared()), options),
          space.mapRegion(region, options),
        ];
        await Promise.allSettled(all);
        await Promise.all(all);
      },
    ]),
  ),
  'mapFile descriptor': (value) => space.mapFile(value, 0, PAGE),
  'mapFile offset': (value) => space.mapFile(0, value, PAGE),
  'mapFile size': (value) => space.mapFile(0, 0, value),
  'updateVaddr mapping': (value) => space.updateVaddr(value, new Uint8Array(shared())),
  'mapFrom source': (value) => space.mapFrom(value, { iova: 0n, size: PAGE, pageSize: PAGE }),
  'mapFrom mapping': (value) => space.mapFrom(space, value),
  'allowIovas ranges': (value) => space.allowIovas(value),
  'pool options': (value) => space.pool(value),
  'pool size': (value) => space.pool({ size: value, count: 1 }),
  'pool count': (value) => space.pool({ size: 64, count: value }),
  'pool alignment': (value) => space.pool({ size: 64, count: 1, alignment: value }),
  'arena options': (value) => space.arena(value),
  'arena size': (value) => space.arena({ size: value }),
  'arena alignment': (value) => space.arena({ size: PAGE, alignment: value }),
  'arena alloc size': async (value) => (await space.arena({ size: PAGE })).alloc(value),
  'arena alloc options': async (value) => (await space.arena({ size: PAGE })).alloc(64, value),
  'arena alloc alignment': async (value) =>
    (await space.arena({ size: PAGE })).alloc(64, { alignment: value }),
  'arena free': async (value) => (await space.arena({ size: PAGE })).free(value),
  'pool give': async (value) => (await space.pool({ size: 64, count: 1 })).give(value),
  'pool give nothing': async () =>
    (await space.pool({ size: 64, count: 1 })).give(undefined as Any),
  'dirty.read mapping': (value) => space.dirty.read(value),
  'dirty.read iova': (value) => space.dirty.read({ iova: value, size: PAGE }),
  'dirty.read size': (value) => space.dirty.read({ iova: 0n, size: value }),
  'dirty.read pageSize': (value) => space.dirty.read({ iova: 0n, size: PAGE }, value),
  'dirty.last mapping': (value) => space.dirty.last(value),
  'dirty.last iova': (value) => space.dirty.last({ iova: value, size: PAGE }),
  'dirty.last size': (value) => space.dirty.last({ iova: 0n, size: value }),
  attachMemory: (value) => attachMemory(value),
  'attachMemory iova': (value) => attachMemory({ iova: value, size: PAGE, range: 1e6 }),
  'attachMemory size': (value) => attachMemory({ iova: 0n, size: value, range: 1e6 }),
  'openAddressSpace backend': (value) => openAddressSpace({ backend: value }).close(),
  'openAddressSpace iommu': (value) => openAddressSpace({ iommu: value }).close(),
  'openAddressSpace unsafe': (value) => openAddressSpace({ unsafe: value }).close(),
  'openAddressSpace ioPages': (value) => openAddressSpace({ ioPages: value }).close(),
  'openAddressSpace fd': (value) => openAddressSpace({ fd: value }).close(),
  openAddressSpace: (value) => openAddressSpace(value).close(),
};

test.each(Object.keys(calls))(
  'no value passed as %s makes anything but a VfioError',
  async (name) => {
    backend.dirty.read = async (_iova, size) =>
      new Uint8Array(8 * Math.ceil(Number(size) / PAGE / 64));
    const others: unknown[] = [];
    for (const value of values) {
      try {
        await calls[name]!(value);
      } catch (error) {
        if (!(error instanceof VfioError)) others.push([value, error]);
      }
      // Whatever it did, nothing is under way, and nothing is lost.
      await space.unmapAll();
    }
    expect(others).toEqual([]);
    expect([...backend.mapped]).toEqual([]);
    expect(kernel.leaks()).toEqual([]);
  },
);
