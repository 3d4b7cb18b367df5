import { constants } from 'node:os';
import { type Device, Eventfd, openAddressSpace, openDevice } from 'vfio';
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

const SIBLING = { ...DEVICE, bdf: '0000:01:00.1' };

function addSibling(): void {
  kernel.sibling = SIBLING.bdf;
  sysfs.add({ ...SIBLING, driver: 'vfio-pci', iommuGroup: SIBLING.group });
}

describe('a device that is open', () => {
  const busy = expect.objectContaining({ code: 'EBUSY', hint: expect.stringContaining('Device') });

  test('is not opened again in this thread, in none of the ways, and keeps all it has', async () => {
    kernel.irqs.set(VFIO_PCI_REQ_IRQ_INDEX, 1);
    const dev = await openDevice(DEVICE.bdf);
    dev.enableBusMaster();
    await dev.irq('msix').enable([0]);
    const addressSpace = openAddressSpace();
    const group = kernel.handOver('group');
    for (const options of [
      {},
      { backend: 'group' },
      { backend: 'iommufd' },
      { addressSpace },
      { fds: { group } },
    ] as const) {
      await expect(openDevice(DEVICE.bdf, options)).rejects.toThrow(busy);
    }
    await expect(openDevice(DEVICE.bdf.toUpperCase())).rejects.toThrow(busy);
    expect(dev.config.read16(4) & 4).toBe(4);
    const heard = dev.irq('msix').once();
    dev.irq('msix').trigger();
    expect((await heard).vector).toBe(0);
    kernel.native.close(group);
    await addressSpace.close();
    await dev.close();
    await (await openDevice(DEVICE.bdf)).close();
  });

  test('is none of two that are opened at once', async () => {
    const opened = await Promise.allSettled([openDevice(DEVICE.bdf), openDevice(DEVICE.bdf)]);
    expect(opened.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(opened[1]).toMatchObject({ reason: { code: 'EBUSY' } });
    for (const result of opened) if (result.status === 'fulfilled') await result.value.close();
  });

  test('is waited for', async () => {
    const dev = await openDevice(DEVICE.bdf);
    const waiting = openDevice(DEVICE.bdf, { waitMs: 5000 });
    await new Promise((resolve) => setTimeout(resolve, 60));
    await dev.close();
    await (await waiting).close();
    kernel.groupHeld = true;
    const refused = openDevice(DEVICE.bdf, { waitMs: 60 });
    await expect(refused).rejects.toThrow(hint('waitMs'));
    await expect(openDevice(DEVICE.bdf, { waitMs: Number.NaN })).rejects.toThrow(
      code('ERR_VFIO_INVALID_ARGUMENT'),
    );
  });

  test('in another thread or process, by a group that was handed over, says so', async () => {
    await expect(openGiven(constants.errno.EINVAL)).rejects.toThrow(code('EBUSY'));
  });

  function openGiven(errno: number) {
    jest.spyOn(kernel.native, 'ioctlInt').mockReturnValueOnce(-errno);
    return openDevice(DEVICE.bdf, { fds: { group: kernel.handOver('group') } });
  }
});

test('EINVAL without a token says nothing of tokens', async () => {
  jest.spyOn(kernel.native, 'ioctlStringFdAsync').mockResolvedValueOnce(-constants.errno.EINVAL);
  const error = await openDevice(DEVICE.bdf).catch((e) => e);
  expect([error.code, error.hint]).toEqual(['EINVAL', undefined]);
});

describe('close() waits for what is under way on the device', () => {
  /** Requests by thread pool stay there until `release`. */
  function heldBack(): { started: () => number; release: () => void } {
    const { ioctlStructAsync, ioctlValueAsync } = kernel.native;
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let started = 0;
    const later =
      <A extends unknown[]>(call: (...args: A) => Promise<number>) =>
      async (...args: A) => {
        started += 1;
        await released;
        return call(...args);
      };
    jest.spyOn(kernel.native, 'ioctlStructAsync').mockImplementation(later(ioctlStructAsync));
    jest.spyOn(kernel.native, 'ioctlValueAsync').mockImplementation(later(ioctlValueAsync));
    return { started: () => started, release };
  }

  test.each<[string, (dev: Device) => Promise<unknown>]>([
    ['two resets', (dev) => Promise.all([dev.reset(), dev.reset()])],
    ['the start of a DMA log', (dev) => dev.dmaLogging.start([])],
    ['a read of the DMA log', (dev) => dev.dmaLogging.read({ iova: 0n, size: 4096 })],
    ['the end of a DMA log', (dev) => dev.dmaLogging.stop()],
    ['interrupts', (dev) => dev.irq('msix').enable([0])],
  ])('%s', async (_, operation) => {
    const dev = await openDevice(DEVICE.bdf);
    const held = heldBack();
    const done = operation(dev).catch(() => {});
    while (held.started() === 0) await new Promise(setImmediate);
    const closedFile = jest.spyOn(kernel.native, 'closeAsync');
    let closed = false;
    const closing = dev.close().then(() => {
      closed = true;
    });
    for (let i = 0; i < 10; i++) await new Promise(setImmediate);
    expect([closed, closedFile.mock.calls.length]).toEqual([false, 0]);
    held.release();
    await Promise.all([closing, done]);
  });
});

describe('a region that was closed by itself', () => {
  test('is given anew, and a reset restores the others', async () => {
    const dev = await openDevice(DEVICE.bdf);
    const { config } = dev;
    const first = dev.region('bar0');
    first.write32(0, 5);
    first.close();
    await dev.reset();
    expect(config.read16(0)).toBe(DEVICE.vendor);
    expect(() => first.read32(0)).toThrow(code('ERR_VFIO_CLOSED'));
    const second = dev.region('bar0');
    expect(second).not.toBe(first);
    expect(second.read32(0)).toBe(0);
    expect(dev.region('bar0')).toBe(second);
    await dev.close();
  });

  test.each([
    ['is gone', 'ENODEV', false],
    ['refuses', 'EPERM', true],
  ])('unmaps although the device %s to end an ioeventfd', async (_, errno, told) => {
    const dev = await openDevice(DEVICE.bdf);
    const bar = dev.region('bar0');
    const eventfd = new Eventfd();
    jest
      .spyOn(kernel.native, 'ioctlStruct')
      .mockImplementation((_fd, request) =>
        request === requests.VFIO_DEVICE_IOEVENTFD ? 0 : -constants.errno.ENOTTY,
      );
    for (const offset of [0, 4]) bar.ioeventfd(eventfd, { offset, width: 32, value: 1 });
    jest.spyOn(kernel.native, 'ioctlStruct').mockImplementation(() => {
      return -constants.errno[errno as 'EPERM'];
    });
    if (told) expect(() => bar.close()).toThrow(code(errno));
    else bar.close();
    jest.restoreAllMocks();
    expect(kernel.leaks()).not.toContain('range');
    eventfd.close();
    await dev.close();
  });
});

test.each([
  ['a width', { offset: 0, width: 7, value: 1 }],
  ['a value', { offset: 0, width: 32, value: 1.5 }],
  ['a value', { offset: 0, width: 32, value: '1' }],
  ['an offset', { offset: '0', width: 32, value: 1 }],
])('%s that is none is refused by an ioeventfd: %j', async (_, options) => {
  const dev = await openDevice(DEVICE.bdf);
  const eventfd = new Eventfd();
  expect(() => dev.region('bar0').ioeventfd(eventfd, options as never)).toThrow(
    expect.objectContaining({ name: 'VfioError' }),
  );
  eventfd.close();
  await dev.close();
});

test('a ROM that the kernel finds no image in is told from none', async () => {
  const lines = Array(13).fill('0x0000000000000000 0x0000000000000000 0x0000000000000000');
  const attributes = { resource: lines.join('\n') };
  sysfs.add({ ...DEVICE, driver: 'vfio-pci', iommuGroup: DEVICE.group, attributes });
  const dev = await openDevice(DEVICE.bdf);
  expect(() => dev.region('rom')).toThrow(hint('it has bar0, config'));
  lines[6] = '0x00000000fea00000 0x00000000fea0ffff 0x0000000000046200';
  attributes.resource = lines.join('\n');
  sysfs.add({ ...DEVICE, driver: 'vfio-pci', iommuGroup: DEVICE.group, attributes });
  expect(() => dev.region('rom')).toThrow(hint('65536 bytes'));
  expect(() => dev.region('rom')).toThrow(hint('no signature'));
  await dev.close();
});

test('bytes are read into an array of bytes only, as many as it has', async () => {
  const dev = await openDevice(DEVICE.bdf);
  class Liar extends Uint8Array {
    override get length(): number {
      return 1;
    }
  }
  const last = dev.config.size - 2;
  expect(() => dev.config.readBytes(last, new Liar(8))).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
  for (const into of [{ length: 1 }, [0], undefined, new Uint16Array(1)]) {
    expect(() => dev.config.readBytes(0, into as never)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  }
  for (const size of [1.5, -1, Number.NaN]) {
    expect(() => dev.region('bar0').exportDmaBuf(0, size)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
  }
  await dev.close();
});

test('a space that is closed while a device is opened in it closes after that, and the device is none', async () => {
  const addressSpace = openAddressSpace();
  const opening = openDevice(DEVICE.bdf, { addressSpace });
  const order: string[] = [];
  const opened = opening.then(
    () => order.push('opened'),
    (error) => order.push(error.code),
  );
  await addressSpace.close().then(() => order.push('closed'));
  await opened;
  expect(order).toEqual(['ERR_VFIO_CLOSED', 'closed']);
});

test('what is no address space is refused', async () => {
  const addressSpace = {} as AddressSpace;
  await expect(openDevice(DEVICE.bdf, { addressSpace })).rejects.toThrow(
    code('ERR_VFIO_INVALID_ARGUMENT'),
  );
});

test('two devices share a group, and the last close frees it', async () => {
  addSibling();
  const [a, b] = await Promise.all([openDevice(DEVICE.bdf), openDevice(SIBLING.bdf)]);
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
    addSibling();
    await expect(openDevice(SIBLING.bdf, { addressSpace })).rejects.toThrow(
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
    addSibling();
    const second = await openDevice(SIBLING.bdf, { fds: { group: fd } });
    expect(second.dma).toBe(first.dma);
    await second.close();
    await openDevice(SIBLING.bdf, { fds: { group: kernel.handOver('group') } });
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
