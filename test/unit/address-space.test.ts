/** An address space above a kernel that is slow, loses its IOMMU, or refuses. */
import { open, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { PasidGuests } from '../../src/device/pasid-guests';
import { AddressSpace } from '../../src/dma/address-space';
import { declarePeer } from '../../src/dma/peer-region';
import { IovaPlacement } from '../../src/dma/placement';
import { systemError } from '../../src/errors';
import { FakeBackend } from './fake-backend';
import type { FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';

jest.mock('../../src/native', () => require('./fake-native'));

const PAGE = 4096;
const { EBADF } = constants.errno;
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
  space.assertUsable();
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

describe('closing goes on to the end where a part fails', () => {
  const failing = (what: string) => ({ close: () => Promise.reject(new Error(what)) });

  test('and tells what failed first', async () => {
    const [stuck, other] = [await space.alloc(PAGE), await space.alloc(PAGE)];
    backend.stuck.add(stuck.iova);
    space.adopt(failing('a device'));
    const late = { closed: false };
    space.adopt({
      close: async () => {
        await new Promise(setImmediate);
        late.closed = true;
      },
    });
    await expect(space.close()).rejects.toThrow('a device');
    expect(late.closed).toBe(true);
    expect([stuck.closed, other.closed]).toEqual([true, true]);
    expect([...backend.mapped.keys()]).toEqual([stuck.iova]);
    expect(backend.closed).toBe(true);
  });

  test('a mapping that does not go keeps its addresses', async () => {
    const stuck = await space.alloc(PAGE);
    backend.stuck.add(stuck.iova);
    await expect(space.unmapAll()).rejects.toThrow(code('EIO'));
    await expect(space.alloc(PAGE, { iova: stuck.iova })).rejects.toThrow(
      code('ERR_VFIO_IOVA_TAKEN'),
    );
  });
});

describe('PASIDs of devices of other spaces', () => {
  test('are detached before the space goes', async () => {
    const detached: number[] = [];
    const guests = new PasidGuests(async (pasid) => {
      expect(backend.closed).toBe(false);
      detached.push(pasid);
      guests.leave(pasid);
    });
    const former = new AddressSpace(new FakeBackend());
    guests.enter(7, former);
    guests.enter(7, space);
    guests.enter(8, space);
    guests.leave(8);
    await former.close();
    expect(detached).toEqual([]);
    await space.close();
    expect(detached).toEqual([7]);
  });

  test('are waited for if their device is closing, too', async () => {
    const guests = new PasidGuests(() => Promise.reject(systemError(-EBADF, 'detach', {})));
    guests.enter(7, space);
    const closing = space.close();
    await new Promise(setImmediate);
    expect(backend.closed).toBe(false);
    guests.leaveAll();
    await closing;
  });
});

test('no more of a region is mapped than there is: what follows is another', async () => {
  const address = 0x7000_0000_0000n;
  const region = { size: 4 * PAGE, address, exportDmaBuf: () => -1 };
  declarePeer(region, { ...region, address: () => address });
  for (const part of [{ size: 5 * PAGE }, { offset: 3 * PAGE, size: 2 * PAGE }]) {
    await expect(space.mapRegion(region, part)).rejects.toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
  }
  await expect(space.mapRegion(region, { offset: 5 * PAGE })).rejects.toThrow(
    code('ERR_VFIO_INVALID_ARGUMENT'),
  );
  const last = await space.mapRegion(region, { offset: 3 * PAGE });
  expect([...backend.mapped]).toEqual([[last.iova, 4096n]]);
});

describe('a buffer of 4 GiB or more, which no ArrayBuffer holds, is refused before it is mapped', () => {
  const GiB = 2 ** 30;
  const tooLarge = code('ERR_VFIO_INVALID_ARGUMENT');

  afterEach(() => {
    expect([...backend.mapped]).toEqual([]);
    expect(kernel.leaks()).toEqual([]);
  });

  test('alloc, also what whole pages make of its size', async () => {
    await expect(space.alloc(4 * GiB)).rejects.toThrow(tooLarge);
    await expect(space.alloc(4 * GiB - 1)).rejects.toThrow(tooLarge);
    const huge = { hugePages: 'require', hugePageSize: 1073741824 } as const;
    await expect(space.alloc(3 * GiB + PAGE, huge)).rejects.toThrow(tooLarge);
  });

  test('mapFile', async () => {
    const path = join(tmpdir(), `large-file-${process.pid}`);
    const file = await open(path, 'w');
    try {
      await file.truncate(4 * GiB);
      await expect(space.mapFile(file.fd, 0, 4 * GiB)).rejects.toThrow(tooLarge);
    } finally {
      await file.close();
      await rm(path);
    }
  });

  test('and if the view is refused for another reason', async () => {
    kernel.native.rangeBuffer = () => -constants.errno.E2BIG;
    await expect(space.alloc(PAGE)).rejects.toThrow(code('E2BIG'));
  });
});

test('a refusal of an address has the code of the rule that it breaks', async () => {
  const { iova } = await space.alloc(2 * PAGE);
  for (const [at, error] of [
    [0x1234n, 'ERR_VFIO_UNALIGNED'],
    [iova + 1n, 'ERR_VFIO_UNALIGNED'],
    [iova + BigInt(PAGE), 'ERR_VFIO_IOVA_TAKEN'],
    [1n << 40n, 'ERR_VFIO_IOVA_OUTSIDE'],
    [-4096n, 'ERR_VFIO_INVALID_ARGUMENT'],
  ] as const) {
    await expect(space.alloc(PAGE, { iova: at })).rejects.toThrow(code(error));
  }
  await expect(space.mapFile(0, 0, 0)).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  await expect(space.mapFile(-1, 0, PAGE)).rejects.toThrow(code('EBADF'));
});

test('an IOMMU with pages larger than those of the process gets whole ones', async () => {
  backend.current = { ...FakeBackend.newGeometry(), pageSizes: BigInt(16 * PAGE) };
  const buffers = [await space.alloc(PAGE), await space.alloc(17 * PAGE), await space.alloc(PAGE)];
  expect(buffers.map(({ iova, size }) => [Number(iova) / PAGE, size / PAGE])).toEqual([
    [16, 16],
    [32, 32],
    [64, 16],
  ]);
});

test('a fixed address is not compared with every mapping there is', async () => {
  const mappings = {
    [Symbol.iterator]: () => {
      throw new Error('asked for');
    },
  };
  const placement = new IovaPlacement(FakeBackend.newGeometry(), []);
  const page = { size: PAGE, pageSize: PAGE };
  expect(placement.take(page, { iova: 0x5000n }, mappings)).toBe(0x5000n);
  expect(() => placement.take(page, { iova: 0x5000n }, mappings)).toThrow('asked for');
});
