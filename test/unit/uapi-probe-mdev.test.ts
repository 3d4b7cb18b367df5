/** A probe of a device that is not of PCI. */
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { probeUapi } from 'vfio';
import { DEVICE, type FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';
import { SYS } from './fake-paths';
import { makeSysfs } from './fake-sysfs';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-paths'));

const UUID = '2ab74924-c335-45f4-9b16-8569e5b08258';
const sysfs = makeSysfs(SYS);
const path = join(SYS, 'bus/mdev/devices', UUID);
let kernel: FakeKernel;

beforeAll(() => {
  mkdirSync(join(path, 'vfio-dev/vfio3'), { recursive: true });
  for (const [name, target] of [
    ['iommu_group', `kernel/iommu_groups/${DEVICE.group}`],
    ['driver', 'bus/mdev/drivers/mtty'],
  ] as const) {
    mkdirSync(join(SYS, target), { recursive: true });
    symlinkSync(join(SYS, target), join(path, name));
  }
});

beforeEach(() => {
  kernel = bootFakeKernel();
  kernel.deviceName = UUID;
});

afterEach(() => expect(kernel.leaks()).toEqual([]));
afterAll(() => sysfs.remove());

test('a mediated device is probed by its UUID, with its own driver', async () => {
  const { device, ioctls, capabilities } = await probeUapi(UUID.toUpperCase());
  expect(device).toBe(UUID);
  expect(ioctls.VFIO_GROUP_GET_DEVICE_FD).toMatchObject({ present: true });
  expect(ioctls.VFIO_DEVICE_RESET).toMatchObject({ present: true });
  expect(capabilities.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE).toMatchObject({ present: true });
});

test('one that does not exist', async () => {
  await expect(probeUapi('00000000-0000-4000-8000-000000000000')).rejects.toMatchObject({
    code: 'ERR_VFIO_NO_DEVICE',
  });
});
