/** Mediated devices, made and removed in a sysfs that is made up. */
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { createMdev, mdevTypes, removeMdev } from 'vfio';
import { findDevice } from '../../src/device/bus-device';
import { vfTokenBytes } from '../../src/device/vf-token';
import * as files from '../../src/pci/blocking-write';
import * as nodes from '../../src/pci/device-nodes';
import { SYS } from './fake-paths';
import { makeSysfs } from './fake-sysfs';

jest.mock('../../src/native', () => ({ native: {} }));
jest.mock('../../src/pci/paths', () => require('./fake-paths'));
jest.mock('../../src/pci/device-nodes', () => ({
  __esModule: true,
  ...jest.requireActual('../../src/pci/device-nodes'),
}));
jest.mock('../../src/pci/blocking-write', () => ({
  __esModule: true,
  ...jest.requireActual('../../src/pci/blocking-write'),
}));

const UUID = '2ab74924-c335-45f4-9b16-8569e5b08258';
const TYPE = { parent: 'mtty', id: 'mtty-1' };
const sysfs = makeSysfs(SYS);
const type = join(SYS, 'class/mdev_bus/mtty/mdev_supported_types/mtty-1');
const device = join(SYS, 'bus/mdev/devices', UUID);

beforeAll(() => {
  mkdirSync(type, { recursive: true });
  const attributes = {
    name: 'Single port serial\n',
    available_instances: '23\n',
    device_api: 'vfio-pci\n',
    create: '',
  };
  for (const [name, text] of Object.entries(attributes)) writeFileSync(join(type, name), text);
});

beforeEach(() => {
  mkdirSync(device, { recursive: true });
  writeFileSync(join(device, 'remove'), '');
});

afterEach(() => jest.restoreAllMocks());
afterAll(() => sysfs.remove());

/** As the kernel refuses a write. */
function refuse(code: 'EACCES' | 'EPERM' | 'EEXIST' | 'EUSERS' | 'ENOSPC' | 'EINVAL'): void {
  const error = Object.assign(new Error(code), {
    ...{ code, errno: -constants.errno[code as 'EACCES'], syscall: 'write' },
  });
  jest.spyOn(files, 'blockingWrite').mockRejectedValueOnce(error);
}

const refused = (code: string, hint: RegExp) =>
  expect.objectContaining({
    name: 'VfioError',
    code,
    syscall: 'write',
    hint: expect.stringMatching(hint),
  });

test('types are listed; one is made by its UUID, and removed', async () => {
  expect(mdevTypes()).toEqual([
    { ...TYPE, name: 'Single port serial', available: 23, deviceApi: 'vfio-pci' },
  ]);
  expect(await createMdev(TYPE, UUID.toUpperCase())).toBe(UUID);
  expect(readFileSync(join(type, 'create'), 'utf8')).toBe(UUID.toUpperCase());
  await removeMdev(UUID);
  expect(readFileSync(join(device, 'remove'), 'utf8')).toBe('1');
});

test.each([
  ['EACCES', /root/],
  ['EPERM', /root/],
  ['EEXIST', /leave the UUID out/],
  ['EUSERS', /mdevTypes\(\)/],
  ['ENOSPC', /removeMdev\(\)/],
  ['EINVAL', /dmesg/],
] as const)('createMdev: %s comes with a hint', async (code, hint) => {
  refuse(code);
  await expect(createMdev(TYPE, UUID)).rejects.toThrow(refused(code, hint));
});

test('removeMdev: EACCES comes with a hint', async () => {
  refuse('EACCES');
  await expect(removeMdev(UUID)).rejects.toThrow(refused('EACCES', /root/));
});

test('what is not there is said to be so before anything is written', async () => {
  const written = jest.spyOn(files, 'blockingWrite');
  const none = (code: string) => expect.objectContaining({ name: 'VfioError', code });
  await expect(createMdev({ ...TYPE, id: 'mtty-9' })).rejects.toThrow(none('ERR_VFIO_NO_DEVICE'));
  await expect(createMdev(TYPE, 'mine')).rejects.toThrow(none('ERR_VFIO_INVALID_UUID'));
  await expect(removeMdev('mine')).rejects.toThrow(none('ERR_VFIO_INVALID_UUID'));
  rmSync(device, { recursive: true });
  await expect(removeMdev(UUID)).rejects.toThrow(none('ERR_VFIO_NO_DEVICE'));
  expect(written).not.toHaveBeenCalled();
});

/** Of no variant that RFC 9562 has; the kernel looks at the form only. */
const FREE_FORM = '12345678-1234-1234-1234-123456789abc';

test.each([
  FREE_FORM,
  '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001',
  '00000000-0000-0000-0000-FFFFFFFFFFFF',
])('any 32 hex digits in the form are a name and a token: %s', async (uuid) => {
  expect(await createMdev(TYPE, uuid)).toBe(uuid.toLowerCase());
  expect(Buffer.from(vfTokenBytes(uuid)).toString('hex')).toBe(
    uuid.toLowerCase().replaceAll('-', ''),
  );
  expect(() => findDevice(uuid)).toThrow(
    expect.objectContaining({
      code: 'ERR_VFIO_NO_DEVICE',
      hint: expect.stringContaining('createMdev'),
    }),
  );
});

test.each([
  `{${UUID}}`,
  UUID.replaceAll('-', ''),
  `${UUID}0`,
  `${UUID}\n`,
  UUID.replace('2', 'g'),
  5n,
  undefined,
])('another form is none: %p', async (uuid) => {
  const invalid = expect.objectContaining({ name: 'VfioError', code: 'ERR_VFIO_INVALID_UUID' });
  expect(() => vfTokenBytes(uuid as string)).toThrow(invalid);
  if (uuid !== undefined) await expect(createMdev(TYPE, uuid as string)).rejects.toThrow(invalid);
  await expect(removeMdev(uuid as string)).rejects.toThrow(invalid);
});

test('one that a process has open stays, unless forced', async () => {
  const link = join(SYS, 'kernel/iommu_groups/7');
  mkdirSync(link, { recursive: true });
  symlinkSync(link, join(device, 'iommu_group'));
  mkdirSync(join(SYS, 'drivers/vfio_mdev'), { recursive: true });
  symlinkSync(join(SYS, 'drivers/vfio_mdev'), join(device, 'driver'));
  const open = jest.spyOn(nodes, 'deviceHolders').mockReturnValue(['qemu (pid 7) by fd 3']);
  await expect(removeMdev(UUID)).rejects.toMatchObject({
    code: 'EBUSY',
    message: `${UUID} is open in qemu (pid 7) by fd 3`,
  });
  expect(open).toHaveBeenCalledWith(expect.objectContaining({ iommuGroup: 7 }), expect.anything());
  await removeMdev(UUID, { force: true });
  rmSync(join(device, 'driver'));
  rmSync(join(device, 'iommu_group'));
});
