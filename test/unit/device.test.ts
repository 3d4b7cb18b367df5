import { constants } from 'node:os';
import { openAddressSpace, openDevice } from 'vfio';
import { AddressSpace } from '../../src/dma/address-space';
import {
  VFIO_DEVICE_FLAGS_PLATFORM,
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
} from '../../src/ioctl/abi/constants';
import { requests } from '../../src/ioctl/abi/requests';
import { deviceContract } from '../contract/device-contract';
import { FakeBackend } from './fake-backend';
import { DEVICE, type FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';
import { SYS } from './fake-paths';
import { makeSysfs } from './fake-sysfs';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-paths'));

const TOKEN = '2ab74924-c335-45f4-9b16-8569e5b08258';
const OTHER_TOKEN = '00000000-0000-4000-8000-000000000000';

const sysfs = makeSysfs(SYS);
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });
const hint = (text: string) => expect.objectContaining({ hint: expect.stringContaining(text) });

let kernel: FakeKernel;

beforeEach(() => {
  kernel = bootFakeKernel();
  sysfs.add({ ...DEVICE, driver: 'vfio-pci', iommuGroup: DEVICE.group });
});

afterEach(() => {
  expect(kernel.leaks()).toEqual([]);
});

afterAll(() => sysfs.remove());

deviceContract('fake', () => ({ ...DEVICE, bar: 'bar0', irq: 'msix' }));

describe('what openDevice refuses, and what it says', () => {
  test('a bad address or token, before anything is opened', async () => {
    await expect(openDevice('eth0')).rejects.toThrow(code('ERR_VFIO_INVALID_BDF'));
    const error = await openDevice(DEVICE.bdf, { vfToken: 'secret' }).catch((e) => e);
    expect(error).toMatchObject({ code: 'ERR_VFIO_INVALID_UUID', hint: expect.any(String) });
    expect(error.message).not.toContain('secret');
  });

  test('a device that does not exist, or has no IOMMU group', async () => {
    await expect(openDevice('0000:7f:00.0')).rejects.toThrow(code('ERR_VFIO_NO_DEVICE'));
    sysfs.add({ bdf: '0000:02:00.0', vendor: 1, device: 2, driver: 'vfio-pci' });
    await expect(openDevice('0000:02:00.0')).rejects.toThrow(code('ERR_VFIO_NO_IOMMU_GROUP'));
  });

  test('a device under another driver or none: the hint tells how to bind it', async () => {
    sysfs.add({ ...DEVICE, driver: 'igb', iommuGroup: DEVICE.group });
    const opened = openDevice(DEVICE.bdf);
    await expect(opened).rejects.toThrow(code('ERR_VFIO_NOT_BOUND'));
    await expect(opened).rejects.toThrow(hint('igb'));
    sysfs.add({ bdf: '0000:03:00.0', vendor: 1, device: 2, iommuGroup: 9 });
    await expect(openDevice('0000:03:00.0')).rejects.toThrow(hint("bindDriver('0000:03:00.0')"));
  });

  test('a kernel without VFIO', async () => {
    kernel.vfioLoaded = false;
    const opened = openDevice(DEVICE.bdf);
    await expect(opened).rejects.toThrow(code('ERR_VFIO_UNAVAILABLE'));
    await expect(opened).rejects.toThrow(hint('modprobe vfio-pci'));
  });

  test('a group that is not viable: the member that blocks is named', async () => {
    kernel.viable = false;
    const group = DEVICE.group;
    sysfs.add({ bdf: '0000:01:00.1', vendor: 1, device: 2, driver: 'e1000e', iommuGroup: group });
    const opened = openDevice(DEVICE.bdf);
    await expect(opened).rejects.toThrow(code('ERR_VFIO_GROUP_NOT_VIABLE'));
    await expect(opened).rejects.toThrow(hint('these block: 0000:01:00.1 (e1000e)'));
  });

  test('a group in use', async () => {
    kernel.groupHeld = true;
    await expect(openDevice(DEVICE.bdf)).rejects.toThrow(code('EBUSY'));
  });

  test('a wrong or missing token, and a token where none is taken', async () => {
    kernel.vfToken = TOKEN;
    for (const vfToken of [undefined, OTHER_TOKEN]) {
      const error = await openDevice(DEVICE.bdf, { vfToken }).catch((e) => e);
      expect(error).toMatchObject({
        code: 'EACCES',
        errno: constants.errno.EACCES,
        syscall: 'ioctl',
        ioctl: 'VFIO_GROUP_GET_DEVICE_FD',
        device: DEVICE.bdf,
        hint: expect.stringContaining('vfToken'),
      });
      expect(error.message).not.toContain(OTHER_TOKEN);
    }
    await (await openDevice(DEVICE.bdf, { vfToken: TOKEN })).close();
    kernel.vfToken = undefined;
    await expect(openDevice(DEVICE.bdf, { vfToken: TOKEN })).rejects.toThrow(code('EINVAL'));
  });
});

describe('failures on the way leave nothing behind', () => {
  test.each([
    'VFIO_GET_API_VERSION',
    'VFIO_CHECK_EXTENSION',
    'VFIO_GROUP_GET_STATUS',
    'VFIO_SET_IOMMU',
    'VFIO_IOMMU_GET_INFO',
    'VFIO_DEVICE_GET_INFO',
  ] as const)('%s fails', async (name) => {
    kernel.failures.set(requests[name], constants.errno.EIO);
    await expect(openDevice(DEVICE.bdf)).rejects.toThrow();
    await (await openDevice(DEVICE.bdf)).close();
  });

  test('GET_IRQ_INFO fails: the address space does not take the device for its own', async () => {
    const addressSpace = openAddressSpace();
    kernel.failures.set(requests.VFIO_DEVICE_GET_IRQ_INFO, constants.errno.EIO);
    await expect(openDevice(DEVICE.bdf, { addressSpace })).rejects.toThrow(code('EIO'));
    const closed = jest.spyOn(kernel.native, 'closeAsync');
    await addressSpace.close();
    expect(closed).not.toHaveBeenCalled();
  });

  test('MAP_DMA fails with ENOMEM below the limit: the hint speaks of memory, and nothing is lost', async () => {
    const dev = await openDevice(DEVICE.bdf);
    kernel.failures.set(requests.VFIO_IOMMU_MAP_DMA, constants.errno.ENOMEM);
    const failed = dev.dma.alloc(8192);
    await expect(failed).rejects.toThrow(code('ENOMEM'));
    await expect(failed).rejects.toThrow(hint('free memory'));
    expect((await dev.dma.alloc(8192)).iova).toBe(0x1000n);
    await dev.close();
  });

  test('SET_IRQS fails: no eventfd stays', async () => {
    const dev = await openDevice(DEVICE.bdf);
    kernel.failures.set(requests.VFIO_DEVICE_SET_IRQS, constants.errno.EINVAL);
    await expect(dev.irq('msix').enable([0, 3])).rejects.toThrow(code('EINVAL'));
    expect(dev.irq('msix').enabled).toEqual([]);
    await dev.close();
  });
});

test('a device that stops answering is EIO with a hint, and works again after reset', async () => {
  const dev = await openDevice(DEVICE.bdf);
  const bar = dev.region('bar0');
  kernel.unplug();
  expect(() => bar.read32(0)).toThrow(code('EIO'));
  expect(() => bar.write32(0, 1)).toThrow(hint('memory decoding'));
  await dev.reset();
  expect(bar.read32(0)).toBe(0);
  await dev.close();
});

test('a device that is unplugged closes with its mappings', async () => {
  const dev = await openDevice(DEVICE.bdf);
  await dev.dma.alloc(8192);
  kernel.unplugFromGroup();
  await dev.close();
});

describe('a close that fails in one place', () => {
  test.each([
    [
      'at the bus master',
      'EPERM',
      () => {
        kernel.configErrno = constants.errno.EPERM;
      },
    ],
    [
      'at the interrupts',
      'EPERM',
      () => kernel.failures.set(requests.VFIO_DEVICE_SET_IRQS, constants.errno.EPERM),
    ],
  ])('%s closes all the rest, and says so', async (_, expected, fail) => {
    const dev = await openDevice(DEVICE.bdf);
    expect(dev.config.read16(0)).toBe(DEVICE.vendor);
    dev.region('bar0').read32(0);
    await dev.dma.alloc(4096);
    await dev.irq('msix').enable([0, 1]);
    fail();
    await expect(dev.close()).rejects.toThrow(code(expected));
    expect(kernel.leaks()).toEqual([]);
  });

  test('because the device is gone is no failure', async () => {
    const dev = await openDevice(DEVICE.bdf);
    dev.config.read16(0);
    kernel.configErrno = constants.errno.ENODEV;
    await dev.close();
  });

  test('when the kernel asked for it is a warning', async () => {
    kernel.irqs.set(VFIO_PCI_REQ_IRQ_INDEX, 1);
    const warnings = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const dev = await openDevice(DEVICE.bdf);
    dev.config.read16(0);
    await new Promise(setImmediate);
    kernel.configErrno = constants.errno.EPERM;
    dev.irq('req').trigger();
    for (let i = 0; i < 5 && !dev.closed; i++) await new Promise(setImmediate);
    await expect(dev.close()).rejects.toThrow(code('EPERM'));
    expect(warnings.mock.calls).toEqual([[code('EPERM')]]);
    warnings.mockRestore();
  });
});

describe('events of the device', () => {
  let warnings: jest.SpyInstance;

  beforeEach(() => {
    for (const index of [VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX]) kernel.irqs.set(index, 1);
    warnings = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  });
  afterEach(() => warnings.mockRestore());

  test('that cannot be enabled are a warning', async () => {
    kernel.failures.set(requests.VFIO_DEVICE_SET_IRQS, constants.errno.EBUSY);
    const dev = await openDevice(DEVICE.bdf);
    await new Promise(setImmediate);
    expect(warnings.mock.calls).toEqual([[code('EBUSY')]]);
    kernel.failures.set(requests.VFIO_DEVICE_SET_IRQS, constants.errno.ENOMEM);
    dev.on('error', () => {});
    await new Promise(setImmediate);
    expect(warnings.mock.calls[1]).toEqual([code('ENOMEM')]);
    await dev.close();
  });

  test('of a device that is closed at once are none', async () => {
    const dev = await openDevice(DEVICE.bdf);
    dev.on('error', () => {});
    await dev.close();
    expect(warnings).not.toHaveBeenCalled();
  });
});

test('two opens share a group, and the last close frees it', async () => {
  const [a, b] = await Promise.all([openDevice(DEVICE.bdf), openDevice(DEVICE.bdf)]);
  expect(a.dma).toBe(b.dma);
  await a.close();
  const buffer = await b.dma.alloc(4096);
  await b.close();
  expect(buffer.closed).toBe(true);
});

test('on another bus than PCI, regions and interrupts go by number, and none is taken for one of PCI', async () => {
  kernel.bus = VFIO_DEVICE_FLAGS_PLATFORM;
  const dev = await openDevice(DEVICE.bdf);
  expect(dev.regions().map(({ index, name }) => [index, name])).toEqual([
    [0, undefined],
    [7, undefined],
  ]);
  expect([dev.regionNames(), dev.irqKinds()]).toEqual([[], []]);
  expect(() => dev.region('bar0')).toThrow(hint('it has 0, 7'));
  expect(() => dev.irq('req')).toThrow(hint('by number from 0 on'));
  expect(() => dev.on('request', () => {})).toThrow(code('ERR_VFIO_NO_INTERRUPT'));
  expect(() => dev.irq(5)).toThrow(code('ERR_VFIO_NO_INTERRUPT'));
  dev.region(0).write32(0, 7);
  expect(dev.region(0).read32(0)).toBe(7);
  expect(dev.irq(2).count).toBeGreaterThan(0);
  const writes = jest.spyOn(dev.region(7), 'write16');
  await dev.close();
  expect(writes).not.toHaveBeenCalled();
});

test('a region that the driver does not count is listed all the same', async () => {
  kernel.uncounted = 16;
  const dev = await openDevice(DEVICE.bdf);
  expect(dev.info.numRegions).toBe(9);
  expect(dev.regions().map(({ index, name }) => [index, name])).toEqual([
    [0, 'bar0'],
    [7, 'config'],
    [16, undefined],
  ]);
  expect(dev.region(16).size).toBe(dev.region('bar0').size);
  await dev.close();
});

test('what a device gave out asks the kernel nothing once it is closed: its descriptor may be another by then', async () => {
  const dev = await openDevice(DEVICE.bdf);
  const { dmaLogging } = dev;
  await dev.close();
  const again = await openDevice(DEVICE.bdf);
  await expect(dmaLogging.start([])).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  await expect(dmaLogging.stop()).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  await again.close();
});

test('an open that overlaps a close waits for the group', async () => {
  const first = await openDevice(DEVICE.bdf);
  const closing = first.close();
  const second = await openDevice(DEVICE.bdf);
  await closing;
  expect(second.config.read16(0)).toBe(DEVICE.vendor);
  await second.close();
});

describe('an address space of one’s own', () => {
  test('keeps its buffers from device to device, mapped anew for the next', async () => {
    const addressSpace = openAddressSpace();
    const first = await openDevice(DEVICE.bdf, { addressSpace });
    const buffer = await addressSpace.alloc(4096);
    await first.close();
    expect(kernel.mappings.size).toBe(0);
    const second = await openDevice(DEVICE.bdf, { addressSpace });
    expect([...kernel.mappings.keys()]).toEqual([buffer.iova]);
    await second.close();
    await addressSpace.close();
  });

  test('closes its devices first', async () => {
    const addressSpace = openAddressSpace();
    const dev = await openDevice(DEVICE.bdf, { addressSpace });
    await addressSpace.close();
    expect(dev.closed).toBe(true);
    await expect(openDevice(DEVICE.bdf, { addressSpace })).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  });

  test('has no IOVAs before its first group, nor after its last', async () => {
    const addressSpace = openAddressSpace();
    await expect(addressSpace.alloc(4096)).rejects.toThrow(hint('first'));
    const dev = await openDevice(DEVICE.bdf, { addressSpace });
    const [kept, dropped] = [await addressSpace.alloc(4096), await addressSpace.alloc(4096)];
    await dev.close();
    await expect(addressSpace.alloc(4096)).rejects.toThrow(hint('last'));
    for (const ask of [() => addressSpace.usage(), () => addressSpace.iovaRanges]) {
      expect(ask).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    }
    await dropped.close();
    const next = await openDevice(DEVICE.bdf, { addressSpace });
    expect((await addressSpace.alloc(4096)).iova).toBe(dropped.iova);
    await expect(addressSpace.alloc(4096, { iova: kept.iova })).rejects.toThrow(
      code('ERR_VFIO_IOVA_TAKEN'),
    );
    await next.close();
    await addressSpace.close();
  });

  test('refuses a group that is in another one', async () => {
    const dev = await openDevice(DEVICE.bdf);
    const addressSpace = openAddressSpace();
    await expect(openDevice(DEVICE.bdf, { addressSpace })).rejects.toThrow(
      code('ERR_VFIO_OTHER_ADDRESS_SPACE'),
    );
    await addressSpace.close();
    await dev.close();
  });
});

describe('a descriptor of the group that was opened elsewhere', () => {
  const vfToken = TOKEN;

  test('opens the device, and again one that shares the group', async () => {
    const fd = kernel.handOver('group');
    const first = await openDevice(DEVICE.bdf, { fds: { group: fd } });
    const second = await openDevice(DEVICE.bdf, { fds: { group: fd } });
    expect(second.dma).toBe(first.dma);
    await openDevice(DEVICE.bdf, { fds: { group: kernel.handOver('group') } });
    await first.dma.close();
  });

  test.each([
    ['another interface', { backend: 'iommufd' }, 'ERR_VFIO_INVALID_ARGUMENT'],
    ['no token', { vfToken: 'secret' }, 'ERR_VFIO_INVALID_UUID'],
    ['a token that is not taken', { vfToken }, 'EINVAL'],
  ] as const)(
    'leaves no duplicate if the device cannot be opened: %s',
    async (_, options, error) => {
      const fds = { group: kernel.handOver('group') };
      await expect(openDevice(DEVICE.bdf, { ...options, fds })).rejects.toThrow(code(error));
    },
  );

  test('leaves no duplicate if the container is refused', async () => {
    kernel.failures.set(requests.VFIO_GET_API_VERSION, constants.errno.EIO);
    const fds = { group: kernel.handOver('group') };
    await expect(openDevice(DEVICE.bdf, { fds })).rejects.toThrow();
  });

  test('is none of a device', async () => {
    const fds = { device: kernel.handOver('device') };
    const opened = openDevice(DEVICE.bdf, { backend: 'group', fds });
    await expect(opened).rejects.toThrow(hint('{ device } with'));
  });

  test('nor any at all', async () => {
    await expect(openDevice(DEVICE.bdf, { fds: { group: 9999 } })).rejects.toThrow(code('EBADF'));
  });
});

test('a container that was opened elsewhere leaves no duplicate if an option does not go with it', () => {
  const open = (options: object) =>
    openAddressSpace({ backend: 'group', fd: kernel.handOver('container'), ...options });
  expect(() => open({ accounting: 'user' })).toThrow(code('ERR_VFIO_UNSUPPORTED'));
  expect(() => open({ iommu: 'noiommu' })).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
});

test('a group does not go into a space of another interface, and stays free', async () => {
  const addressSpace = new AddressSpace(new FakeBackend());
  const opened = openDevice(DEVICE.bdf, { backend: 'group', addressSpace });
  await expect(opened).rejects.toThrow(code('ERR_VFIO_OTHER_ADDRESS_SPACE'));
  await addressSpace.close();
  await (await openDevice(DEVICE.bdf)).close();
});

test('a container without dirty tracking says so, be it no type1 or its version 1', async () => {
  const dev = await openDevice(DEVICE.bdf);
  await expect(dev.dma.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  for (const [errno, expected] of [
    ['EACCES', 'ERR_VFIO_UNSUPPORTED'],
    ['ENOMEM', 'ENOMEM'],
  ] as const) {
    kernel.failures.set(requests.VFIO_IOMMU_DIRTY_PAGES, constants.errno[errno]);
    await expect(dev.dma.dirty.start()).rejects.toThrow(code(expected));
  }
  await dev.close();
});

test('a container that iommufd stands in for is told from one, whatever it was opened as', () => {
  const container = openAddressSpace({ backend: 'group' });
  expect(container.backend).toBe('type1v2');
  kernel.containersAreIommufd = true;
  const iommufd = openAddressSpace({ backend: 'group', fd: kernel.handOver('container') });
  expect(iommufd.backend).toBe('iommufd-container');
  return Promise.all([container.close(), iommufd.close()]);
});
