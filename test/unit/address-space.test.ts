/** An address space above a kernel that is slow, loses its IOMMU, or refuses. */
import { AddressSpace } from '../../src/dma/address-space';
import { FakeBackend } from './fake-backend';
import type { FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';

jest.mock('../../src/native', () => require('./fake-native'));

const PAGE = 4096;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

let kernel: FakeKernel;
let backend: FakeBackend;
let space: AddressSpace;

beforeEach(() => {
  kernel = bootFakeKernel();
  backend = new FakeBackend();
  space = new AddressSpace(backend);
});

afterEach(async () => {
  await space.close().catch(() => {});
  expect(backend.closed).toBe(true);
  expect(kernel.leaks()).toEqual([]);
});

/** Maps and unmaps wait from now on, until the returned function is called. */
function hold(): () => void {
  let open = () => {};
  backend.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  return open;
}

async function deviceComes(): Promise<void> {
  backend.current = FakeBackend.newGeometry();
  await space.joined('kept');
}

describe('while a device comes in', () => {
  test('a mapping under way keeps its addresses', async () => {
    const release = hold();
    const first = space.alloc(2 * PAGE);
    await deviceComes();
    const second = space.alloc(PAGE);
    release();
    const buffers = await Promise.all([first, second]);
    expect(buffers.map(({ iova }) => iova)).toEqual([0x1000n, 0x3000n]);
    await Promise.all(buffers.map((buffer) => buffer.close()));
    expect((await space.alloc(4 * PAGE)).iova).toBe(0x1000n);
  });

  test('so does one that is being taken away', async () => {
    const buffer = await space.alloc(PAGE);
    const release = hold();
    const closing = buffer.close();
    await deviceComes();
    const next = space.alloc(PAGE);
    await expect(space.alloc(PAGE, { iova: buffer.iova })).rejects.toThrow(
      code('ERR_VFIO_IOVA_TAKEN'),
    );
    release();
    await closing;
    expect((await next).iova).toBe(0x2000n);
    expect((await space.alloc(PAGE)).iova).toBe(0x1000n);
  });

  test('one that is refused gives them back', async () => {
    backend.mapped.set(0x1000n, 4096n);
    const refused = space.alloc(PAGE);
    await deviceComes();
    await expect(refused).rejects.toThrow(code('EEXIST'));
    backend.mapped.clear();
    expect((await space.alloc(PAGE)).iova).toBe(0x1000n);
  });
});

test('closing waits for mappings that are being taken away', async () => {
  const buffer = await space.alloc(PAGE);
  const release = hold();
  const closing = [buffer.close(), space.close()];
  await new Promise(setImmediate);
  expect(backend.closed).toBe(false);
  release();
  await Promise.all(closing);
  expect(backend.mapped.size).toBe(0);
});
