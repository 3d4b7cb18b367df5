/** Address spaces whose devices come and go, on the real kernel. */
import { existsSync, openSync } from 'node:fs';
import { type AddressSpace, openAddressSpace, openDevice } from 'vfio';
import { PasidGuests } from '../../src/device/pasid-guests';
import { IOMMUFD_PATH } from '../../src/dma/container';
import type { Ioas } from '../../src/dma/ioas';
import { Pasids } from '../../src/dma/pasids';
import { iommuDestroy } from '../../src/ioctl/iommufd';
import { deviceReads, deviceWrites, eduMask } from './edu-dma';
import { bound, findDevice } from './lab-devices';
import { hasMockIommu, MockDevice } from './mock-iommu';

const PAGE = 4096;
const MiB = 1 << 20;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

bound('edu', 'nvme');

test('a device that comes in while memory is being mapped does not get its addresses', async () => {
  const space = openAddressSpace();
  const edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
  const [nvme, large] = await Promise.all([
    openDevice(findDevice('nvme').bdf, { addressSpace: space }),
    space.alloc(64 * MiB),
  ]);
  const small = await space.alloc(PAGE);
  expect(small.iova).toBe(large.iova + BigInt(large.size));
  await Promise.all([large.close(), small.close()]);
  await Promise.all([edu.close(), nvme.close()]);
  await space.close();
});

test('a container that its last device left says what it lacks, and serves the next', async () => {
  const space = openAddressSpace({ backend: 'group' });
  const { bdf } = findDevice('edu');
  const first = await openDevice(bdf, { addressSpace: space });
  const kept = await space.alloc(PAGE, eduMask);
  const dropped = await space.alloc(PAGE, eduMask);
  await first.close();

  const refusal = expect.objectContaining({
    code: 'ERR_VFIO_INVALID_ARGUMENT',
    hint: expect.stringContaining('open one'),
  });
  await expect(space.alloc(PAGE)).rejects.toThrow(refusal);
  expect(() => space.usage()).toThrow(refusal);
  await dropped.close();

  const second = await openDevice(bdf, { addressSpace: space });
  second.enableBusMaster();
  await expect(space.alloc(PAGE, { iova: kept.iova })).rejects.toThrow(code('ERR_VFIO_IOVA_TAKEN'));
  const again = await space.alloc(PAGE, { iova: dropped.iova });
  kept.u32.fill(0x600d);
  await deviceReads(second, kept.iova);
  await deviceWrites(second, again.iova);
  expect(again.u32.at(-1)).toBe(0x600d);
  await second.close();
  await space.close();
});

const hasIommufd = existsSync(IOMMUFD_PATH);
if (!hasIommufd) console.info('no /dev/iommu in this kernel: it is not tried as a container');

(hasIommufd ? test : test.skip)(
  'an iommufd that is handed over as a container is told from one',
  async () => {
    const fd = openSync(IOMMUFD_PATH, 'r+');
    const space = openAddressSpace({ backend: 'group', fd });
    const edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
    await expect(space.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
    await edu.close();
    await space.close();
  },
);

test('version 1 of type1 has no dirty tracking, and says so', async () => {
  const space = openAddressSpace({ backend: 'group', iommu: 'type1' });
  const edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
  await expect(space.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  await edu.close();
  await space.close();
});

(hasMockIommu ? describe : describe.skip)('on the mock IOMMU', () => {
  let space: AddressSpace;
  let ioas: Ioas;
  const devices: MockDevice[] = [];

  async function enter(): Promise<MockDevice> {
    const device = new MockDevice(ioas.iommufd, ioas.id);
    devices.push(device);
    await ioas.addDevice(device);
    await space.joined('kept');
    return device;
  }

  beforeEach(() => {
    space = openAddressSpace({ backend: 'iommufd', ioPages: 'single' });
    ioas = space.kernelSpace as Ioas;
  });

  afterEach(async () => {
    for (const device of devices.splice(0)) {
      iommuDestroy(ioas.iommufd, device.object);
      ioas.removeDevice(device);
    }
    await space.close();
  });

  test('devices that come after tracking began are tracked', async () => {
    await space.dirty.start();
    const first = await enter();
    const buffer = await space.alloc(64 * PAGE);
    expect((await space.dirty.read(buffer)).count).toBe(0);
    const second = await enter();
    first.write(buffer.iova, buffer.size, PAGE, [1]);
    second.write(buffer.iova, buffer.size, PAGE, [40]);
    const dirty = await space.dirty.read(buffer);
    expect([...dirty.ranges()].map(({ iova }) => Number(iova - buffer.iova) / PAGE)).toEqual([
      1, 40,
    ]);
    await space.dirty.stop();
  });

  test('the space of a PASID closes before the device that has it', async () => {
    const device = await enter();
    const other = space.sibling();
    const pasids = new Pasids(ioas.iommufd, device);
    const guests = new PasidGuests((pasid) => pasids.detach(pasid, ioas.id));
    await pasids.attach(7, (other.kernelSpace as Ioas).id, ioas.id);
    guests.enter(7, other);
    await other.close();
    expect(device.pasidIsOn(7, 0)).toBe(true);
    const buffer = await space.alloc(PAGE);
    await buffer.close();
  });
});
