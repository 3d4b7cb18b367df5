/**
 * Address spaces of iommufd whose devices come and go.
 *
 * @kernel lab
 */
import { openSync } from 'node:fs';
import { type AddressSpace, openAddressSpace, openDevice } from 'vfio';
import { PasidGuests } from '../../src/device/pasid-guests';
import { IOMMUFD_PATH } from '../../src/dma/container';
import type { Ioas } from '../../src/dma/ioas';
import { Pasids } from '../../src/dma/pasids';
import { iommuDestroy } from '../../src/ioctl/iommufd';
import { bound, findDevice } from './lab-devices';
import { MockDevice } from './mock-iommu';

const PAGE = 4096;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

bound('edu');

test('an iommufd that is handed over as a container is told from one', async () => {
  const fd = openSync(IOMMUFD_PATH, 'r+');
  const space = openAddressSpace({ backend: 'group', fd });
  const edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
  await expect(space.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  await edu.close();
  await space.close();
});

describe('on the mock IOMMU', () => {
  let space: AddressSpace;
  let ioas: Ioas;
  const devices: MockDevice[] = [];

  async function enter(): Promise<MockDevice> {
    const device = new MockDevice(ioas.iommufd, ioas.id);
    devices.push(device);
    await ioas.addDevice(device);
    space.assertUsable();
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
