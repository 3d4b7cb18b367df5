/** What is in the way of a hot reset, from the kernel's list and sysfs. */
import { affectedDevices, hotReset } from '../../src/device/hot-reset';
import * as c from '../../src/ioctl/abi/hot-reset-constants';
import * as h from '../../src/ioctl/abi/hot-reset-structs';
import { SYS } from './fake-paths';
import { answer, FD } from './fake-requests';
import { makeSysfs } from './fake-sysfs';

jest.mock('../../src/native', () => require('./fake-requests'));
jest.mock('../../src/pci/paths', () => require('./fake-paths'));

const sysfs = makeSysfs(SYS);
afterAll(() => sysfs.remove());

const bdf = (fn: number) => `0000:01:00.${fn}`;
const noReset = (hint: string) =>
  expect.objectContaining({ code: 'ERR_VFIO_NO_RESET', hint: expect.stringContaining(hint) });

/** The functions of one slot, with the number that the kernel gives for each: its group, or its id. */
function slot(flags: number, numbers: readonly number[]): { resets: number } {
  const asked = { resets: 0 };
  answer('VFIO_DEVICE_GET_PCI_HOT_RESET_INFO', (bytes) => {
    const info = h.vfio_pci_hot_reset_info.view(bytes);
    const { size } = h.vfio_pci_dependent_device;
    info.flags = flags;
    info.count = numbers.length;
    if (bytes.length < h.vfio_pci_hot_reset_info.size + numbers.length * size) return -28;
    for (const [fn, number] of numbers.entries()) {
      const at = h.vfio_pci_hot_reset_info.size + fn * size;
      const one = h.vfio_pci_dependent_device.view(bytes.subarray(at));
      one.group_id = number;
      one.bus = 1;
      one.devfn = fn;
    }
    return 0;
  });
  answer('VFIO_DEVICE_PCI_HOT_RESET', () => {
    asked.resets += 1;
    return 0;
  });
  numbers.forEach((_, fn) => {
    sysfs.add({ bdf: bdf(fn), vendor: 1, device: 2, driver: 'vfio-pci', iommuGroup: 70 + fn });
  });
  return asked;
}

test('by groups: a function of a group that is not open here', async () => {
  const asked = slot(0, [70, 71]);
  expect(affectedDevices(FD, bdf(0))).toEqual([
    { bdf: bdf(0), blocker: 'in IOMMU group 70, which is not open here' },
    { bdf: bdf(1), blocker: 'in IOMMU group 71, which is not open here' },
  ]);
  await expect(hotReset(FD, bdf(0))).rejects.toThrow(
    noReset(
      `${bdf(0)} is in IOMMU group 70, which is not open here; ${bdf(1)} is in IOMMU group 71`,
    ),
  );
  expect(asked.resets).toBe(0);
});

test('by iommufd: a function that is not open in the same one', async () => {
  const flags = c.VFIO_PCI_HOT_RESET_FLAG_DEV_ID;
  const ids = [5, c.VFIO_PCI_DEVID_OWNED, c.VFIO_PCI_DEVID_NOT_OWNED];
  const asked = slot(flags, ids);
  expect(affectedDevices(FD, bdf(0)).map(({ blocker }) => blocker)).toEqual([
    undefined,
    undefined,
    'not open in the same iommufd',
  ]);
  await expect(hotReset(FD, bdf(0))).rejects.toThrow(
    noReset(`${bdf(2)} is not open in the same iommufd`),
  );
  expect(asked.resets).toBe(0);
  slot(flags | c.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED, ids.slice(0, 2));
  await hotReset(FD, bdf(0));
});

test('a function under another driver, or under none', () => {
  slot(0, [70, 71]);
  sysfs.add({ bdf: bdf(1), vendor: 1, device: 2, driver: 'e1000e' });
  expect(affectedDevices(FD, bdf(0))[1]!.blocker).toContain('bound to e1000e');
});
