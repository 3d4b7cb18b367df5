/** What runs beside something else in an address space: each waits for its turn. */
import { constants } from 'node:os';
import { AddressSpace } from '../../src/dma/address-space';
import { systemError } from '../../src/errors';
import { FakeBackend } from './fake-backend';
import type { FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';

jest.mock('../../src/native', () => require('./fake-native'));

const PAGE = 4096;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

let kernel: FakeKernel;
let backend: FakeBackend;
let space: AddressSpace;
/** A group, to the space. */
const group = {};

beforeEach(async () => {
  kernel = bootFakeKernel();
  backend = new FakeBackend();
  space = new AddressSpace(backend);
  await space.join(group, backend.attach);
});

afterEach(async () => {
  await space.leave(group, backend.drop);
  await space.close().catch(() => {});
  expect(kernel.leaks()).toEqual([]);
});

const shared = (bytes: number) => new Uint8Array(new SharedArrayBuffer(bytes));
const tick = () => new Promise(setImmediate);

/** Maps and unmaps wait from now on, until the returned function is called. */
function hold(): () => void {
  let open = () => {};
  backend.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  return open;
}

describe('the first device after the last', () => {
  test('gets mappings whose signal has fired and whose listener is done', async () => {
    const controller = new AbortController();
    const progress: number[] = [];
    const onProgress = (done: number) => progress.push(done);
    const buffer = await space.alloc(PAGE, { signal: controller.signal, onProgress });
    await space.leave(group, backend.drop);
    controller.abort(new Error('the time of this alloc is over'));
    await space.join(group, backend.attach);
    expect([...backend.mapped.keys()]).toEqual([buffer.iova]);
    expect(progress).toEqual([PAGE]);
  });

  test('meets no alloc under way', async () => {
    const kept = await space.alloc(PAGE);
    await space.leave(group, backend.drop);
    const release = hold();
    const joining = space.join(group, backend.attach);
    await tick();
    const meanwhile = space.alloc(PAGE);
    const closed = space.alloc(PAGE).then((buffer) => buffer.close());
    await tick();
    release();
    await Promise.all([joining, closed]);
    expect([...backend.mapped.keys()]).toEqual([kept.iova, (await meanwhile).iova]);
  });

  test.each([1, 600])(
    'has nothing of a buffer of %i pages that is closed meanwhile',
    async (pages) => {
      const buffer = await space.alloc(pages * PAGE);
      await space.leave(group, backend.drop);
      const release = hold();
      const joining = space.join(group, backend.attach);
      await tick();
      const closing = buffer.close();
      expect(() => buffer.u8).toThrow(code('ERR_VFIO_CLOSED'));
      await tick();
      release();
      await Promise.all([joining, closing]);
      expect([...backend.mapped]).toEqual([]);
      expect((await space.alloc(PAGE)).iova).toBe(buffer.iova);
    },
  );

  test('is told why a mapping does not come back; the next one gets it', async () => {
    const buffer = await space.alloc(PAGE);
    await space.leave(group, backend.drop);
    jest
      .spyOn(backend, 'map')
      .mockRejectedValueOnce(systemError(-constants.errno.EFAULT, 'map', { ioctl: 'MAP' }));
    await expect(space.join(group, backend.attach)).rejects.toThrow(
      expect.objectContaining({ code: 'EFAULT', hint: expect.stringContaining('pinned') }),
    );
    expect([...backend.mapped]).toEqual([]);
    // Another group, whether or not the first has left.
    const other = {};
    await space.join(other, async () => {});
    expect([...backend.mapped.keys()]).toEqual([buffer.iova]);
    await space.leave(other);
  });

  test('does not come while mappings are made and unmapped', async () => {
    const release = hold();
    const mapping = space.alloc(PAGE);
    const attach = jest.fn(backend.attach);
    const leaving = space.leave(group, backend.drop);
    const joining = space.join(group, attach);
    await tick();
    expect([attach.mock.calls.length, backend.current]).toEqual([0, expect.anything()]);
    release();
    const { iova } = await mapping;
    await Promise.all([leaving, joining]);
    expect([...backend.mapped.keys()]).toEqual([iova]);
  });
});

describe('a mapping is changed by one at a time', () => {
  const bitmap = new Uint8Array(8);
  let finish: () => void;

  beforeEach(() => {
    backend.dirty.readAndUnmap = async (iova) => {
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      backend.mapped.delete(iova);
      return bitmap;
    };
  });

  test('suspend and resume are refused while it is read for the last time', async () => {
    const mapping = await space.map(shared(PAGE));
    const other = await space.map(shared(PAGE));
    const last = space.dirty.last(mapping);
    await tick();
    expect(() => mapping.suspend()).toThrow(code('EBUSY'));
    other.suspend();
    finish();
    await last;
    expect([mapping.closed, backend.mapped.size]).toEqual([true, 0]);
    expect(() => mapping.resume()).toThrow(code('ERR_VFIO_CLOSED'));
    other.resume();
    expect((await space.map(shared(PAGE))).iova).toBe(mapping.iova);
  });

  test('close waits for the last reading, and the second of two finds nothing', async () => {
    const buffer = await space.alloc(PAGE);
    const last = space.dirty.last(buffer);
    const again = space.dirty.last(buffer);
    const closing = buffer.close();
    await tick();
    finish();
    await last;
    await expect(again).rejects.toThrow(code('ERR_VFIO_CLOSED'));
    await closing;
    expect(backend.mapped.size).toBe(0);
  });

  test('one that cannot be read stays open', async () => {
    const buffer = await space.alloc(PAGE);
    backend.dirty.readAndUnmap = async () => {
      throw systemError(-constants.errno.EINVAL, 'not started', {});
    };
    await expect(space.dirty.last(buffer)).rejects.toThrow(code('EINVAL'));
    expect([buffer.closed, backend.mapped.size]).toEqual([false, 1]);
  });

  test('a suspended one has no dirty pages to tell of', async () => {
    const mapping = await space.map(shared(PAGE));
    mapping.suspend();
    await expect(space.dirty.last(mapping)).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    expect([mapping.closed, mapping.suspended]).toEqual([false, true]);
  });

  test('what is at the place of a closed one is another', async () => {
    const old = await space.alloc(PAGE);
    await old.close();
    const buffer = await space.alloc(PAGE);
    expect(buffer.iova).toBe(old.iova);
    await expect(space.dirty.last(old)).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    expect([buffer.closed, backend.mapped.size]).toEqual([false, 1]);
  });
});

test('unmapAll right after an alloc closes that, too', async () => {
  const release = hold();
  const allocated = space.alloc(PAGE);
  const unmapped = space.unmapAll();
  release();
  const buffer = await allocated;
  await unmapped;
  expect([buffer.closed, backend.mapped.size]).toEqual([true, 0]);
  expect(space.usage()).toMatchObject({ mappings: 0, bytes: 0 });
});

test('unmapAll takes one request, and each mapping is asked for only if that is refused', async () => {
  const unmap = jest.spyOn(backend, 'unmap');
  const buffers = await Promise.all([1, 2, 3].map((pages) => space.alloc(pages * PAGE)));
  const [first] = buffers;
  const suspended = await space.map(shared(PAGE));
  suspended.suspend();
  await space.unmapAll();
  expect([unmap.mock.calls.length, backend.mapped.size, suspended.closed]).toEqual([0, 0, true]);
  expect(buffers.map(({ closed }) => closed)).toEqual([true, true, true]);
  const [stuck, other] = [await space.alloc(PAGE), await space.alloc(PAGE)];
  expect(stuck.iova).toBe(first!.iova);
  backend.stuck.add(stuck.iova);
  await expect(space.unmapAll()).rejects.toThrow(code('EIO'));
  expect([...backend.mapped.keys()]).toEqual([stuck.iova]);
  expect([stuck.closed, other.closed, unmap.mock.calls.length]).toEqual([true, true, 2]);
  backend.stuck.clear();
  await space.unmapAll();
  expect((await space.alloc(PAGE)).iova).toBe(stuck.iova);
});

test('unmapAll that finds less than there should be is an error, and all is free', async () => {
  const buffer = await space.alloc(2 * PAGE);
  const other = await space.alloc(PAGE);
  backend.mapped.delete(other.iova);
  await expect(space.unmapAll()).rejects.toThrow(code('ENOENT'));
  expect([buffer.closed, other.closed, backend.mapped.size]).toEqual([true, true, 0]);
  expect((await space.alloc(3 * PAGE)).iova).toBe(buffer.iova);
});

test('what the kernel has unmapped by itself is an error, and its addresses are free', async () => {
  const buffer = await space.alloc(2 * PAGE);
  backend.mapped.delete(buffer.iova);
  await expect(buffer.close()).rejects.toThrow(code('ENOENT'));
  expect(kernel.leaks()).toEqual([]);
  expect((await space.alloc(PAGE)).iova).toBe(buffer.iova);
});

test('a mapping that cannot be taken back after it failed keeps its addresses, until the IOMMU goes', async () => {
  const onProgress = () => {
    backend.stuck.add(0x1000n);
    throw new Error('listener');
  };
  await expect(space.alloc(PAGE, { onProgress })).rejects.toThrow(code('EIO'));
  backend.stuck.clear();
  expect([...backend.mapped.keys()]).toEqual([0x1000n]);
  expect((await space.alloc(PAGE)).iova).toBe(0x2000n);
  await space.leave(group, backend.drop);
  await space.join(group, backend.attach);
  expect([...backend.mapped.keys()]).toEqual([0x2000n]);
  expect((await space.alloc(PAGE)).iova).toBe(0x1000n);
});

describe('a space that is closed while a device comes in', () => {
  test('waits for it to be detached, and takes it nowhere', async () => {
    await space.leave(group, backend.drop);
    let attached = () => {};
    const joining = space.join(group, async () => {
      await new Promise<void>((resolve) => {
        attached = resolve;
      });
      await backend.attach();
    });
    await tick();
    const closing = space.close();
    attached();
    await expect(joining).rejects.toThrow(code('ERR_VFIO_CLOSED'));
    await tick();
    expect(backend.closed).toBe(false);
    await space.leave(group, backend.drop);
    await closing;
    expect(backend.closed).toBe(true);
  });

  test('takes no other, and no child', async () => {
    const attach = jest.fn(backend.attach);
    const closing = space.close();
    await expect(space.join({}, attach)).rejects.toThrow(code('ERR_VFIO_CLOSED'));
    expect(attach).not.toHaveBeenCalled();
    expect(() => space.adopt({ close: async () => {} })).toThrow(code('ERR_VFIO_CLOSED'));
    expect(() => space.assertUsable()).toThrow(code('ERR_VFIO_CLOSED'));
    await space.leave(group, backend.drop);
    await closing;
  });
});
