/** Mappings that are taken away from devices for a while. */
import { AddressSpace } from '../../src/dma/address-space';
import { FakeBackend } from './fake-backend';
import { bootFakeKernel } from './fake-native';

jest.mock('../../src/native', () => require('./fake-native'));

const PAGE = 4096;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

let backend: FakeBackend;
let space: AddressSpace;

beforeEach(async () => {
  bootFakeKernel();
  backend = new FakeBackend();
  space = new AddressSpace(backend);
  await space.join(backend, backend.attach);
});
afterEach(async () => {
  await space.leave(backend);
  await space.close();
});

const memory = (bytes: number) => new Uint8Array(new SharedArrayBuffer(bytes));

test('a suspended mapping keeps its IOVA, and has it again', async () => {
  const mapping = await space.map(memory(PAGE));
  mapping.suspend();
  mapping.suspend();
  expect([mapping.suspended, backend.mapped.size]).toEqual([true, 0]);
  const other = await space.map(memory(PAGE));
  expect(other.iova).not.toBe(mapping.iova);
  mapping.resume();
  mapping.resume();
  expect([mapping.suspended, backend.mapped.get(mapping.iova)]).toEqual([false, BigInt(PAGE)]);
});

test('one that is closed while suspended gives its IOVA back', async () => {
  const mapping = await space.map(memory(PAGE));
  mapping.suspend();
  await mapping.close();
  expect(() => mapping.resume()).toThrow(code('ERR_VFIO_CLOSED'));
  expect(() => mapping.suspend()).toThrow(code('ERR_VFIO_CLOSED'));
  expect((await space.map(memory(PAGE))).iova).toBe(mapping.iova);
});

test('one that cannot be resumed stays suspended', async () => {
  const mapping = await space.map(memory(PAGE));
  mapping.suspend();
  backend.stuck.add(mapping.iova);
  expect(() => mapping.resume()).toThrow(code('ENOMEM'));
  expect(mapping.suspended).toBe(true);
  backend.stuck.clear();
  mapping.resume();
  expect(backend.mapped.size).toBe(1);
});

test('a new space of the kernel gets what is not suspended', async () => {
  const [first, second] = [await space.map(memory(PAGE)), await space.map(memory(PAGE))];
  first.suspend();
  await space.leave(backend, backend.drop);
  expect(() => second.suspend()).toThrow('no IOMMU');
  await space.join(backend, backend.attach);
  expect([...backend.mapped.keys()]).toEqual([second.iova]);
  first.resume();
  expect(backend.mapped.size).toBe(2);
});

test('only what map() made, up to 2 MiB', async () => {
  const large = await space.map(memory(513 * PAGE));
  expect(() => large.suspend()).toThrow(code('ERR_VFIO_UNSUPPORTED'));
  expect(large.suspended).toBe(false);
});
