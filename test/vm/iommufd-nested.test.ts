/**
 * Nested translation and virtual IOMMUs on the kernel's mock: no user of the library's own needs them.
 *
 * @kernel lab
 */
import { readSync } from 'node:fs';
import { type AddressSpace, openAddressSpace } from 'vfio';
import type { Ioas } from '../../src/dma/ioas';
import * as abi from '../../src/ioctl/abi/iommufd-constants';
import { iommufd_vevent_header } from '../../src/ioctl/abi/iommufd-structs';
import { iommuDestroy } from '../../src/ioctl/iommufd';
import { iommuHwptAlloc } from '../../src/ioctl/iommufd-hwpt';
import { iommuIoasUnmap } from '../../src/ioctl/iommufd-ioas';
import * as nested from '../../src/ioctl/iommufd-nested';
import { native } from '../../src/native';
import { MockDevice } from './mock-iommu';

/** drivers/iommu/iommufd/iommufd_test.h */
const HWPT_DATA_SELFTEST = 0xdead;
const SELFTEST = 0xdeadbeef;
const VEVENTQ_TYPE_SELFTEST = 0xbeefbeef;
const INVALIDATE_ALL = 1;
const DEV_CACHE_DEFAULT = 0xbaddad;

const words = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

describe('the mock IOMMU', () => {
  let space: AddressSpace;
  let iommufd: number;
  let device: MockDevice;
  let parent: number;
  /** Objects, in the order they were made. */
  let made: number[];

  const keep = (id: number): number => {
    made.push(id);
    return id;
  };

  beforeEach(async () => {
    space = openAddressSpace({ backend: 'iommufd', ioPages: 'single' });
    const ioas = space.kernelSpace as Ioas;
    iommufd = ioas.iommufd;
    device = new MockDevice(iommufd, ioas.id);
    ioas.addDevice(device);
    space.assertUsable();
    made = [];
    parent = keep(
      await iommuHwptAlloc(iommufd, device.id, ioas.id, abi.IOMMU_HWPT_ALLOC_NEST_PARENT),
    );
  });

  afterEach(async () => {
    const ioas = space.kernelSpace as Ioas;
    await device.attach(ioas.id);
    for (const id of made.reverse()) iommuDestroy(iommufd, id);
    iommuDestroy(iommufd, device.object);
    ioas.removeDevice(device);
    await space.close();
  });

  const viommu = () =>
    nested.iommuViommuAlloc(iommufd, device.id, parent, { type: SELFTEST, bytes: words() });

  const table = (under: number) =>
    nested.iommuHwptAllocNested(iommufd, device.id, under, {
      type: HWPT_DATA_SELFTEST,
      bytes: words(0xc0ffee, 0),
    });

  test('a page table on top of another forgets what it is told to, up to an entry that is wrong', () => {
    const hwpt = keep(table(parent));
    for (const entry of [0, 1, 2, 3]) device.checkIotlb(hwpt, entry, 0xc0ffee);
    const invalidate = (...entries: number[]) =>
      nested.iommuHwptInvalidate(iommufd, hwpt, { type: SELFTEST, bytes: words(...entries) }, 8);
    invalidate(0, 1);
    expect(() => invalidate(0, 2, 0, 99, 0, 3)).toThrow(
      expect.objectContaining({
        code: 'EINVAL',
        message: expect.stringContaining('after 1 of 3 entries'),
      }),
    );
    for (const [entry, value] of [0xc0ffee, 0, 0, 0xc0ffee].entries())
      device.checkIotlb(hwpt, entry, value);
    invalidate(INVALIDATE_ALL, 0);
    device.checkIotlb(hwpt, 3, 0);
    const otherFormat = { type: abi.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, bytes: words(0, 0) };
    expect(() => nested.iommuHwptInvalidate(iommufd, hwpt, otherFormat, 8)).toThrow(code('EINVAL'));
  });

  test('a virtual IOMMU takes data, and gives it back; others are refused', async () => {
    const { id, data } = nested.iommuViommuAlloc(iommufd, device.id, parent, {
      type: SELFTEST,
      bytes: words(0x1234, 0, 0, 0, 0, 0),
    });
    keep(id);
    const [given, returned] = new Uint32Array(data.buffer);
    expect([given, returned]).toEqual([0x1234, 0x1234]);
    const flat = keep(await iommuHwptAlloc(iommufd, device.id, (space.kernelSpace as Ioas).id));
    const none = { type: SELFTEST, bytes: words() };
    expect(() => nested.iommuViommuAlloc(iommufd, device.id, flat, none)).toThrow(code('EINVAL'));
    const unknown = { type: abi.IOMMU_VIOMMU_TYPE_ARM_SMMUV3, bytes: words() };
    expect(() => nested.iommuViommuAlloc(iommufd, device.id, parent, unknown)).toThrow(
      code('EOPNOTSUPP'),
    );
  });

  test('a device has a number in it, by which its caches are emptied', () => {
    const { id } = viommu();
    keep(id);
    keep(nested.iommuVdeviceAlloc(iommufd, id, device.id, 0x99n));
    expect(() => nested.iommuVdeviceAlloc(iommufd, id, device.id, 0x98n)).toThrow(code('EEXIST'));
    device.checkCache(2, DEV_CACHE_DEFAULT);
    const invalidate = (...entry: number[]) =>
      nested.iommuHwptInvalidate(iommufd, id, { type: SELFTEST, bytes: words(...entry) }, 12);
    invalidate(0, 0x99, 2);
    device.checkCache(2, 0);
    device.checkCache(1, DEV_CACHE_DEFAULT);
    expect(() => invalidate(0, 0x98, 1)).toThrow(code('EINVAL'));
  });

  test('its events are read from a queue, by the number of their device', async () => {
    const { id } = viommu();
    keep(id);
    keep(nested.iommuVdeviceAlloc(iommufd, id, device.id, 0x99n));
    const queue = nested.iommuVeventqAlloc(iommufd, id, VEVENTQ_TYPE_SELFTEST, 2);
    keep(queue.id);
    expect(() => nested.iommuVeventqAlloc(iommufd, id, VEVENTQ_TYPE_SELFTEST, 2)).toThrow(
      code('EEXIST'),
    );
    await device.attach(keep(table(id)));
    const { size } = iommufd_vevent_header;
    const event = Buffer.alloc(size + 4);
    const next = () => {
      const length = readSync(queue.fd, event);
      const { flags, sequence } = iommufd_vevent_header.view(new Uint8Array(event));
      return { flags, sequence, ...(length > size && { device: event.readUInt32LE(size) }) };
    };
    device.raiseEvent();
    expect(next()).toEqual({ flags: 0, sequence: 0, device: 0x99 });
    for (let i = 0; i < 3; i++) device.raiseEvent();
    expect([next(), next(), next()]).toEqual([
      { flags: 0, sequence: 1, device: 0x99 },
      { flags: 0, sequence: 2, device: 0x99 },
      { flags: abi.IOMMU_VEVENTQ_FLAG_LOST_EVENTS, sequence: 3 },
    ]);
    native.close(queue.fd);
  });

  test('a queue of the hardware keeps its memory mapped', async () => {
    const { id } = viommu();
    keep(id);
    const buffer = await space.alloc(4096);
    const queue = { type: SELFTEST, index: 0, iova: buffer.iova, length: 4096n };
    const hwQueue = nested.iommuHwQueueAlloc(iommufd, id, queue);
    expect(() => nested.iommuHwQueueAlloc(iommufd, id, queue)).toThrow(code('EEXIST'));
    expect(() =>
      nested.iommuHwQueueAlloc(iommufd, id, { ...queue, index: 1, iova: 1n << 30n }),
    ).toThrow(expect.objectContaining({ ioctl: 'IOMMU_HW_QUEUE_ALLOC' }));
    const ioas = (space.kernelSpace as Ioas).id;
    await expect(iommuIoasUnmap(iommufd, ioas, buffer.iova, 4096n)).rejects.toThrow(code('EBUSY'));
    iommuDestroy(iommufd, hwQueue);
    await buffer.close();
  });
});
