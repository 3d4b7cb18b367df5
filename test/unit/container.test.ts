/** A container, its groups and what the kernel says of them; and what a descriptor that is handed over is. */
import { constants } from 'node:os';
import { AddressSpace } from '../../src/dma/address-space';
import { Container } from '../../src/dma/container';
import { openAddressSpace } from '../../src/dma/open';
import { requests } from '../../src/ioctl/abi/requests';
import type { FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';

jest.mock('../../src/native', () => require('./fake-native'));

let nodes: readonly string[] = [];
jest.mock('node:fs', () => {
  const fs = jest.requireActual('node:fs');
  const existsSync = (path: string) =>
    path === '/dev/iommu' ? nodes.includes(path) : fs.existsSync(path);
  return { ...fs, existsSync };
});

const PAGE = 4096;
const { EBUSY } = constants.errno;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

let kernel: FakeKernel;

beforeEach(() => {
  kernel = bootFakeKernel();
  nodes = [];
});

describe('the IOMMU of a container is there as long as the kernel says so', () => {
  let container: Container;
  let space: AddressSpace;
  let group: number;
  const member = {};
  const join = () => space.join(member, () => container.attachGroup(group));
  const leave = () => space.leave(member, () => container.detachGroup(group));

  beforeEach(async () => {
    container = Container.from(kernel.handOver('container'));
    space = new AddressSpace(container);
    group = kernel.handOver('group');
    await join();
  });

  afterEach(async () => {
    await leave();
    await space.close();
    kernel.native.close(group);
    expect(kernel.leaks()).toEqual([]);
  });

  test('it outlives a group that could not leave, and its mappings are unmapped', async () => {
    const [kept, dropped] = [await space.alloc(PAGE), await space.alloc(PAGE)];
    kernel.failures.set(requests.VFIO_GROUP_UNSET_CONTAINER, EBUSY);
    await expect(leave()).rejects.toThrow(code('EBUSY'));
    await dropped.close();
    expect([...kernel.mappings.keys()]).toEqual([kept.iova]);
    // Now whoever held the device is done.
    kernel.unplugFromGroup();
    await join();
    expect([...kernel.mappings.keys()]).toEqual([kept.iova]);
    await (await space.alloc(PAGE)).close();
  });

  test('it goes with the group of a device that is unplugged: closing is no error, mapping says why', async () => {
    const [first, second] = [await space.alloc(PAGE), await space.alloc(PAGE)];
    kernel.unplugFromGroup();
    await first.close();
    await expect(space.alloc(PAGE)).rejects.toThrow('no IOMMU');
    await leave();
    await join();
    expect([...kernel.mappings.keys()]).toEqual([second.iova]);
    expect((await space.alloc(PAGE)).iova).toBe(first.iova);
  });

  test('it goes before a mapping is asked for', async () => {
    kernel.unplugFromGroup();
    await expect(space.alloc(PAGE)).rejects.toThrow('no IOMMU');
    expect(() => space.assertUsable()).toThrow('no IOMMU');
  });
});

describe('what is handed over is asked what it is', () => {
  test('a container, on a machine with iommufd', async () => {
    nodes = ['/dev/iommu'];
    const space = openAddressSpace({ fd: kernel.handOver('container') });
    expect(space.backend).toBe('type1v2');
    await space.close();
    expect(kernel.leaks()).toEqual([]);
  });

  test.each([true, false])('an iommufd, where /dev/iommu is there: %s', async (isThere) => {
    nodes = isThere ? ['/dev/iommu'] : [];
    kernel.containersAreIommufd = true;
    const ioctl = kernel.native.ioctlStruct;
    Object.assign(kernel.native, {
      ioctlStruct: (fd: number, request: number, bytes: Uint8Array) =>
        [
          requests.IOMMU_IOAS_ALLOC,
          requests.IOMMU_IOAS_IOVA_RANGES,
          requests.IOMMU_DESTROY,
        ].includes(request)
          ? 0
          : ioctl(fd, request, bytes),
    });
    const space = openAddressSpace({ fd: kernel.handOver('container') });
    expect(space.backend).toBe('iommufd');
    await space.close();
    expect(kernel.leaks()).toEqual([]);
  });

  test('neither: it is closed, and the error says so', () => {
    kernel.native.ioctlValue = () => -constants.errno.ENOTTY;
    const fd = kernel.handOver('memfd');
    expect(() => openAddressSpace({ fd })).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    expect(kernel.leaks()).toEqual([]);
  });
});

test('iommufd as a container counts memory as it says', async () => {
  kernel.containersAreIommufd = true;
  expect(Container.from(kernel.handOver('container')).accounting).toBe('user');
  kernel.containersAreIommufd = false;
  expect(Container.from(kernel.handOver('container')).accounting).toBe('process');
});
