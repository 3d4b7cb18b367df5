/** An IOAS and its devices, above an iommufd that is answered for here. */
import { constants } from 'node:os';
import { Ioas } from '../../src/dma/ioas';
import type { IoasDevice } from '../../src/dma/ioas-dirty';
import { systemError } from '../../src/errors';
import * as c from '../../src/ioctl/abi/iommufd-constants';
import * as s from '../../src/ioctl/abi/iommufd-structs';
import { answer, closed, FD, memoryAt } from './fake-requests';

jest.mock('../../src/native', () => require('./fake-requests'));

const { EBUSY, EOPNOTSUPP } = constants.errno;
const IOAS = 7;
const PAGE = 4096;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

let ioas: Ioas;
/** What each page table tells, by its id: the device's writes, one bit per page. */
let hwpts: Map<number, { device: number; dirty: number }>;
let destroyed: number[];

/** A device, and the page tables that it was attached to. */
class FakeDevice implements IoasDevice {
  readonly attached: number[] = [];

  constructor(readonly id: number) {}

  async attach(ptId: number): Promise<void> {
    this.attached.push(ptId);
  }

  /** It writes to a page. */
  write(page: number): void {
    const hwpt = hwpts.get(this.attached.at(-1) ?? IOAS);
    if (hwpt) hwpt.dirty |= 1 << page;
  }
}

beforeEach(() => {
  hwpts = new Map();
  destroyed = [];
  closed.length = 0;
  answer('IOMMU_OPTION', () => 0);
  answer('IOMMU_IOAS_ALLOC', (bytes) => {
    s.iommu_ioas_alloc.view(bytes).out_ioas_id = IOAS;
    return 0;
  });
  answer('IOMMU_IOAS_IOVA_RANGES', (bytes) => {
    s.iommu_ioas_iova_ranges.view(bytes).out_iova_alignment = 1n;
    return 0;
  });
  answer('IOMMU_DESTROY', (bytes) => {
    destroyed.push(s.iommu_destroy.view(bytes).id);
    return 0;
  });
  answer('IOMMU_HWPT_ALLOC', (bytes) => {
    const arg = s.iommu_hwpt_alloc.view(bytes);
    if (arg.dev_id >= 100) return -EOPNOTSUPP;
    arg.out_hwpt_id = 20 + hwpts.size;
    hwpts.set(arg.out_hwpt_id, { device: arg.dev_id, dirty: 0 });
    return 0;
  });
  answer('IOMMU_HWPT_SET_DIRTY_TRACKING', () => 0);
  answer('IOMMU_HWPT_GET_DIRTY_BITMAP', (bytes) => {
    const arg = s.iommu_hwpt_get_dirty_bitmap.view(bytes);
    memoryAt(arg.data)[0]! = hwpts.get(arg.hwpt_id)!.dirty;
    return 0;
  });
  ioas = Ioas.from(FD);
});

const dirtyPages = async () => (await ioas.dirty.read(0n, BigInt(8 * PAGE), PAGE))[0];

describe('dirty tracking', () => {
  test('of an empty space reports nothing, and takes in devices that come later', async () => {
    await ioas.dirty.start();
    expect(await dirtyPages()).toBe(0);
    const [one, other] = [new FakeDevice(1), new FakeDevice(2)];
    await Promise.all([ioas.addDevice(one), ioas.addDevice(other)]);
    one.write(0);
    other.write(3);
    expect(await dirtyPages()).toBe(0b1001);
    await ioas.dirty.stop();
    expect([one, other].map(({ attached }) => attached)).toEqual([
      [20, IOAS],
      [21, IOAS],
    ]);
    expect(destroyed).toEqual([20, 21]);
    await expect(dirtyPages()).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  });

  test('puts a device onto one page table, though it comes in as tracking starts', async () => {
    const device = new FakeDevice(1);
    await Promise.all([ioas.dirty.start(), ioas.addDevice(device), ioas.dirty.start()]);
    expect(device.attached).toEqual([20]);
  });

  test('refuses a device whose IOMMU does not note writes, and goes on without it', async () => {
    const [one, unable] = [new FakeDevice(1), new FakeDevice(100)];
    await ioas.addDevice(one);
    await ioas.dirty.start();
    await expect(ioas.addDevice(unable)).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
    one.write(2);
    expect(await dirtyPages()).toBe(0b100);
    await ioas.dirty.stop();
    await ioas.dirty.start();
    expect(unable.attached).toEqual([]);
  });

  test('does not begin if one cannot: all are back where they were', async () => {
    const [one, unable] = [new FakeDevice(1), new FakeDevice(100)];
    await ioas.addDevice(one);
    await ioas.addDevice(unable);
    await expect(ioas.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
    expect(one.attached).toEqual([20, IOAS]);
    await expect(dirtyPages()).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  });
});

describe('what cannot be finished is undone', () => {
  const { ENOMEM } = constants.errno;

  test('a device whose tracking cannot be turned on is back on the IOAS, and the reason is told', async () => {
    await ioas.dirty.start();
    const device = new FakeDevice(1);
    answer('IOMMU_HWPT_SET_DIRTY_TRACKING', () => -ENOMEM);
    // As the kernel does with a page table that a device is on.
    answer('IOMMU_DESTROY', (bytes) => {
      const { id } = s.iommu_destroy.view(bytes);
      if (id === device.attached.at(-1)) return -EBUSY;
      destroyed.push(id);
      return 0;
    });
    await expect(ioas.addDevice(device)).rejects.toThrow(code('ENOMEM'));
    expect([device.attached, destroyed]).toEqual([[20, IOAS], [20]]);
    answer('IOMMU_HWPT_SET_DIRTY_TRACKING', () => 0);
    await ioas.dirty.stop();
    await ioas.dirty.start();
    expect(device.attached).toEqual([20, IOAS]);
  });

  test('nor does a device that cannot go back hide the reason, or count', async () => {
    await ioas.dirty.start();
    const device = new FakeDevice(1);
    const attach = device.attach.bind(device);
    device.attach = async (ptId) => {
      if (ptId === IOAS) throw systemError(-constants.errno.EIO, 'attach', {});
      await attach(ptId);
    };
    answer('IOMMU_HWPT_SET_DIRTY_TRACKING', () => -ENOMEM);
    answer('IOMMU_DESTROY', () => -EBUSY);
    await expect(ioas.addDevice(device)).rejects.toThrow(code('ENOMEM'));
    answer('IOMMU_HWPT_SET_DIRTY_TRACKING', () => 0);
    await ioas.dirty.start();
    expect(device.attached).toEqual([20]);
  });

  test('stopping goes on to the other devices where one cannot', async () => {
    const [stuck, other] = [new FakeDevice(1), new FakeDevice(2)];
    await Promise.all([ioas.addDevice(stuck), ioas.addDevice(other)]);
    await ioas.dirty.start();
    stuck.attach = () => Promise.reject(systemError(-constants.errno.EIO, 'attach', {}));
    await expect(ioas.dirty.stop()).rejects.toThrow(code('EIO'));
    expect([other.attached, destroyed]).toEqual([[21, IOAS], [21]]);
    ioas.removeDevice(stuck);
    expect(destroyed).toEqual([21, 20]);
  });

  test('a new IOAS that cannot be set up', () => {
    answer('IOMMU_IOAS_ALLOC', (bytes) => {
      s.iommu_ioas_alloc.view(bytes).out_ioas_id = 9;
      return 0;
    });
    answer('IOMMU_IOAS_IOVA_RANGES', () => -ENOMEM);
    expect(() => ioas.sibling()).toThrow(code('ENOMEM'));
    expect([destroyed, closed]).toEqual([[9], []]);
  });
});

test('dirty tracking does not take a device off the page table of its PASIDs', async () => {
  const device = Object.assign(new FakeDevice(1), { hasPasids: true });
  await ioas.addDevice(device);
  await expect(ioas.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  expect(device.attached).toEqual([]);
});

test('an IOAS that the kernel does not destroy does not keep its iommufd open', () => {
  answer('IOMMU_DESTROY', () => -EBUSY);
  expect(() => ioas.close()).toThrow(code('EBUSY'));
  expect(closed).toEqual([FD]);
});

test('whose memory is counted is asked of an iommufd that was handed over, and set only to change it', () => {
  const modes: bigint[] = [];
  answer('IOMMU_OPTION', (bytes) => {
    const arg = s.iommu_option.view(bytes);
    if (arg.op === c.IOMMU_OPTION_OP_GET) arg.val64 = 1n;
    else modes.push(arg.val64);
    return 0;
  });
  expect(Ioas.from(FD).accounting).toBe('process');
  expect(Ioas.from(FD, { accounting: 'process' }).accounting).toBe('process');
  expect(modes).toEqual([]);
  expect(Ioas.from(FD, { accounting: 'user' }).accounting).toBe('user');
  expect(modes).toEqual([0n]);
});
