/** The requests about hot reset, low power, features and ioeventfds, byte by byte. */
import { constants } from 'node:os';
import * as c from '../../src/ioctl/abi/constants';
import * as h from '../../src/ioctl/abi/hot-reset-structs';
import { vfio_device_ioeventfd } from '../../src/ioctl/abi/ioeventfd-structs';
import { vfio_device_low_power_entry_with_wakeup } from '../../src/ioctl/abi/low-power-structs';
import * as s from '../../src/ioctl/abi/structs';
import * as device from '../../src/ioctl/device';
import * as hotReset from '../../src/ioctl/hot-reset';
import { deviceIoeventfd } from '../../src/ioctl/ioeventfd';
import * as lowPower from '../../src/ioctl/low-power';
import { answer, FD } from './fake-requests';

jest.mock('../../src/native', () => require('./fake-requests'));

const { EINVAL, ENODEV, ENOSPC, ENOTTY, EOPNOTSUPP, EPERM } = constants.errno;

describe('hot reset', () => {
  /** `count` devices on bus 0xc1, whose number the kernel tells only to those with room for all. */
  function affected(count: number, flags: number): number[] {
    const rooms: number[] = [];
    answer('VFIO_DEVICE_GET_PCI_HOT_RESET_INFO', (bytes) => {
      const info = h.vfio_pci_hot_reset_info.view(bytes);
      const { size } = h.vfio_pci_dependent_device;
      const room = (bytes.length - h.vfio_pci_hot_reset_info.size) / size;
      rooms.push(room);
      info.flags = flags;
      info.count = count;
      if (room < count) return -ENOSPC;
      for (let i = 0; i < count; i++) {
        const at = h.vfio_pci_hot_reset_info.size + i * size;
        const one = h.vfio_pci_dependent_device.view(bytes.subarray(at));
        one.group_id = 100 + i;
        one.segment = 0x1a;
        one.bus = 0xc1;
        one.devfn = i;
      }
      return 0;
    });
    return rooms;
  }

  test('devices come with their groups; a list that is too short is asked for again', () => {
    const rooms = affected(12, 0);
    const devices = hotReset.deviceGetPciHotResetInfo(FD);
    expect(devices).toHaveLength(12);
    expect(devices[9]).toEqual({ bdf: '001a:c1:01.1', group: 109 });
    expect(rooms).toEqual([1, 12]);
  });

  test('or with their ids in the iommufd', () => {
    affected(1, c.VFIO_PCI_HOT_RESET_FLAG_DEV_ID);
    expect(hotReset.deviceGetPciHotResetInfo(FD)).toEqual([{ bdf: '001a:c1:00.0', devid: 100 }]);
  });

  test.each([
    ['ENODEV', ENODEV],
    ['EPERM', EPERM],
  ])('%s is passed on', (code, errno) => {
    answer('VFIO_DEVICE_GET_PCI_HOT_RESET_INFO', () => -errno);
    expect(() => hotReset.deviceGetPciHotResetInfo(FD)).toThrow(expect.objectContaining({ code }));
  });

  test.each([
    ['more than a segment has', 0xffff_ffff, -ENOSPC],
    ['more than it was given room for', 2, 0],
  ])('a kernel that reports %s is not believed', (_, count, result) => {
    answer('VFIO_DEVICE_GET_PCI_HOT_RESET_INFO', (bytes) => {
      h.vfio_pci_hot_reset_info.view(bytes).count = count;
      return result;
    });
    expect(() => hotReset.deviceGetPciHotResetInfo(FD)).toThrow(
      expect.objectContaining({ name: 'VfioError', code: 'ERR_VFIO_MALFORMED' }),
    );
  });

  test('groups are named by their descriptors', async () => {
    let asked: unknown;
    answer('VFIO_DEVICE_PCI_HOT_RESET', (bytes) => {
      const { argsz, flags, count } = h.vfio_pci_hot_reset.view(bytes);
      asked = [argsz, flags, count, ...new Int32Array(bytes.slice(12).buffer)];
      return 0;
    });
    await hotReset.devicePciHotReset(FD, [7, 9]);
    expect(asked).toEqual([20, 0, 2, 7, 9]);
    await hotReset.devicePciHotReset(FD, []);
    expect(asked).toEqual([12, 0, 0]);
  });
});

describe('features', () => {
  /** Each request as its operations, its feature and its data. */
  function asked(result = 0): [operations: number, feature: number, data: number[]][] {
    const calls: [number, number, number[]][] = [];
    answer('VFIO_DEVICE_FEATURE', (bytes) => {
      const { flags } = s.vfio_device_feature.view(bytes);
      calls.push([flags & ~0xffff, flags & 0xffff, [...bytes.subarray(8)]]);
      return result;
    });
    return calls;
  }

  test('a probe asks for what can be done, and does nothing', () => {
    const calls = asked();
    expect(device.deviceFeatureProbe(FD, 11, c.VFIO_DEVICE_FEATURE_GET)).toBe(true);
    expect(calls).toEqual([[c.VFIO_DEVICE_FEATURE_PROBE | c.VFIO_DEVICE_FEATURE_GET, 11, []]]);
  });

  test.each([ENOTTY, EINVAL, EOPNOTSUPP])('errno %i is a no', (errno) => {
    asked(-errno);
    expect(device.deviceFeatureProbe(FD, 1, c.VFIO_DEVICE_FEATURE_SET)).toBe(false);
  });

  test('any other is an error', () => {
    asked(-ENODEV);
    expect(() => device.deviceFeatureProbe(FD, 1, c.VFIO_DEVICE_FEATURE_SET)).toThrow(
      expect.objectContaining({ code: 'ENODEV' }),
    );
  });

  test('low power and bus master', () => {
    const calls = asked();
    const set = c.VFIO_DEVICE_FEATURE_SET;
    lowPower.deviceFeatureLowPowerEntry(FD);
    lowPower.deviceFeatureLowPowerEntryWithWakeup(FD, 5);
    lowPower.deviceFeatureLowPowerExit(FD);
    device.deviceFeatureBusMaster(FD, 'set');
    device.deviceFeatureBusMaster(FD, 'clear');
    const wakeup = vfio_device_low_power_entry_with_wakeup.create();
    wakeup.wakeup_eventfd = 5;
    expect(calls).toEqual([
      [set, 3, []],
      [set, 4, [...wakeup.bytes]],
      [set, 5, []],
      [set, 10, [1, 0, 0, 0]],
      [set, 10, [0, 0, 0, 0]],
    ]);
  });
});

test('an ioeventfd', () => {
  let asked: unknown;
  answer('VFIO_DEVICE_IOEVENTFD', (bytes) => {
    const { flags, offset, data, fd } = vfio_device_ioeventfd.view(bytes);
    asked = [flags, offset, data, fd];
    return 0;
  });
  deviceIoeventfd(FD, { offset: 2 ** 41 + 8, width: 16, data: 0xbeefn }, 6);
  expect(asked).toEqual([c.VFIO_DEVICE_IOEVENTFD_16, (1n << 41n) + 8n, 0xbeefn, 6]);
});

test('fewer vectors than asked for are no success', async () => {
  answer('VFIO_DEVICE_SET_IRQS', () => 3);
  await expect(device.deviceSetIrqsEventfds(FD, 2, 0, [4, 5, 6, 7])).rejects.toMatchObject({
    code: 'ERR_VFIO_NO_INTERRUPT',
    message: expect.stringContaining('3 vectors'),
  });
});
