/**
 * What groups, containers and type1 IOMMUs refuse, asked by bare requests: the library never asks for it.
 *
 * @kernel stock
 */
import { constants as fsConstants } from 'node:fs';
import { release } from 'node:os';
import { allocateMemory, type Memory } from '../../src/dma/memory';
import * as abi from '../../src/ioctl/abi/constants';
import { iommuGetInfo, iommuMapDma, iommuUnmapDma, setIommu } from '../../src/ioctl/container';
import { deviceGetInfo } from '../../src/ioctl/device';
import {
  iommuDirtyPagesGetBitmap,
  iommuDirtyPagesStart,
  iommuDirtyPagesStop,
} from '../../src/ioctl/dirty-pages';
import {
  groupGetDeviceFd,
  groupGetStatus,
  groupSetContainer,
  groupUnsetContainer,
} from '../../src/ioctl/group';
import { native } from '../../src/native';
import { bound, findDevice, vfioResources } from './lab-devices';

const { VFIO_TYPE1_IOMMU: TYPE1, VFIO_TYPE1v2_IOMMU: TYPE1V2 } = abi;
const READ_WRITE = abi.VFIO_DMA_MAP_FLAG_READ | abi.VFIO_DMA_MAP_FLAG_WRITE;
const PAGE = 4096n;
const IOVA = 0x10_0000n;

const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

bound('edu', 'nvme');

let before: string[];
let container: number;
let group: number;
let memory: Memory;
let vaddr: bigint;

const open = (path: string) => native.open(path, fsConstants.O_RDWR);
const groupPath = (kind: 'edu' | 'nvme') => `/dev/vfio/${findDevice(kind).iommuGroup}`;

beforeEach(() => {
  before = vfioResources();
  container = open('/dev/vfio/vfio');
  group = open(groupPath('edu'));
  expect(Math.min(container, group)).toBeGreaterThan(2);
  memory = allocateMemory(4 * Number(PAGE), 'no');
  vaddr = native.rangeAddress(memory.range) as bigint;
});

afterEach(async () => {
  await native.closeAsync(group);
  await native.closeAsync(container);
  native.rangeRelease(memory.range);
  expect(vfioResources()).toEqual(before);
});

async function withIommu(type: number): Promise<void> {
  groupSetContainer(group, container);
  await setIommu(container, type);
}

describe('a group and its container', () => {
  test('in their order only, each step once', async () => {
    const { bdf } = findDevice('edu');
    const { VFIO_GROUP_FLAGS_VIABLE: VIABLE, VFIO_GROUP_FLAGS_CONTAINER_SET: SET } = abi;
    expect(groupGetStatus(group)).toBe(VIABLE);
    await expect(setIommu(container, TYPE1V2)).rejects.toThrow(code('EINVAL'));
    await expect(groupGetDeviceFd(group, bdf)).rejects.toThrow(code('EINVAL'));
    await expect(groupUnsetContainer(group)).rejects.toThrow(code('EINVAL'));
    // With iommufd in the kernel, EBADFD.
    expect(() => groupSetContainer(group, group)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^(EINVAL|EBADFD)$/) }),
    );
    expect(() => groupSetContainer(group, -1)).toThrow(code('EBADF'));

    groupSetContainer(group, container);
    expect(groupGetStatus(group)).toBe(VIABLE | SET);
    expect(() => groupSetContainer(group, container)).toThrow(code('EINVAL'));
    await expect(groupGetDeviceFd(group, bdf)).rejects.toThrow(code('EINVAL'));

    await setIommu(container, TYPE1V2);
    await expect(setIommu(container, TYPE1V2)).rejects.toThrow(code('EINVAL'));
    await expect(setIommu(container, TYPE1)).rejects.toThrow(code('EINVAL'));

    const device = await groupGetDeviceFd(group, bdf);
    await expect(groupUnsetContainer(group)).rejects.toThrow(code('EBUSY'));
    expect(deviceGetInfo(device).numRegions).toBeGreaterThan(7);
    await native.closeAsync(device);
    await groupUnsetContainer(group);
    expect(groupGetStatus(group)).toBe(VIABLE);
  });

  test('the group opens once; a device is opened by its own group, and as often as one likes', async () => {
    expect(open(groupPath('edu'))).toBe(-16);
    await withIommu(TYPE1V2);
    await expect(groupGetDeviceFd(group, findDevice('nvme').bdf)).rejects.toThrow(code('ENODEV'));
    const { bdf } = findDevice('edu');
    const fds = await Promise.all([bdf, bdf].map((name) => groupGetDeviceFd(group, name)));
    expect(new Set(fds).size).toBe(2);
    for (const fd of fds) await native.closeAsync(fd);
  });
});

describe.each([
  ['type1v2', TYPE1V2],
  ['type1', TYPE1],
])('%s', (_, type) => {
  const map = (iova: bigint, size: bigint, from = vaddr, flags = READ_WRITE) =>
    iommuMapDma(container, from, iova, size, flags);

  beforeEach(() => withIommu(type));

  test('MAP_DMA: no size, no access, half pages, a reserved window, too high: EINVAL', async () => {
    const [low, high] = iommuGetInfo(container).iovaRanges!;
    for (const [iova, size, from, flags] of [
      [IOVA, 0n, vaddr, READ_WRITE],
      [IOVA, PAGE, vaddr, 0],
      [IOVA, 100n, vaddr, READ_WRITE],
      [IOVA + 1n, PAGE, vaddr, READ_WRITE],
      [IOVA, PAGE, vaddr + 8n, READ_WRITE],
      [low!.end + 1n, PAGE, vaddr, READ_WRITE],
      [high!.end + 1n, PAGE, vaddr, READ_WRITE],
      [IOVA, PAGE, vaddr, 1 << 31],
    ] as const) {
      await expect(map(iova, size, from, flags)).rejects.toThrow(code('EINVAL'));
    }
    expect(await iommuUnmapDma(container, IOVA, PAGE)).toBe(0n);
  });

  test('MAP_DMA: an overlap is EEXIST, no memory EFAULT, the end of all addresses its own', async () => {
    await map(IOVA, 2n * PAGE);
    await expect(map(IOVA + PAGE, PAGE)).rejects.toThrow(code('EEXIST'));
    await expect(map(IOVA - PAGE, 2n * PAGE)).rejects.toThrow(code('EEXIST'));
    await expect(map(2n * IOVA, PAGE, 1n << 46n)).rejects.toThrow(code('EFAULT'));
    const top = (1n << 64n) - PAGE;
    const [major] = release().split('.');
    const overflow = code(Number(major) < 7 ? 'EINVAL' : 'EOVERFLOW');
    await expect(map(top, 2n * PAGE)).rejects.toThrow(overflow);
    await expect(map(2n * IOVA, 2n * PAGE, top)).rejects.toThrow(overflow);
    expect(await iommuUnmapDma(container, IOVA, 2n * PAGE)).toBe(2n * PAGE);
  });

  test('UNMAP_DMA of part of a mapping', async () => {
    await map(IOVA, 4n * PAGE);
    const unmap = (pages: bigint, count: bigint) =>
      iommuUnmapDma(container, IOVA + pages * PAGE, count * PAGE);
    await expect(unmap(0n, 0n)).rejects.toThrow(code('EINVAL'));
    if (type === TYPE1V2) {
      for (const [first, count] of [
        [0n, 1n],
        [1n, 2n],
        [3n, 1n],
        [-1n, 2n],
      ] as const) {
        await expect(unmap(first, count)).rejects.toThrow(code('EINVAL'));
      }
      expect(await unmap(-1n, 6n)).toBe(4n * PAGE);
    } else {
      // Nothing from inside; all of it with its first page.
      expect(await unmap(1n, 2n)).toBe(0n);
      expect(await unmap(3n, 1n)).toBe(0n);
      await expect(map(IOVA + PAGE, PAGE)).rejects.toThrow(code('EEXIST'));
      expect(await unmap(0n, 1n)).toBe(4n * PAGE);
    }
    expect(await unmap(0n, 4n)).toBe(0n);
  });
});

describe('DIRTY_PAGES', () => {
  const read = (iova: bigint, size: bigint, page = Number(PAGE)) =>
    iommuDirtyPagesGetBitmap(container, iova, size, page);

  test('of version 2 only: EACCES', async () => {
    await withIommu(TYPE1);
    await expect(iommuDirtyPagesStart(container)).rejects.toThrow(code('EACCES'));
    await expect(iommuDirtyPagesStop(container)).rejects.toThrow(code('EACCES'));
    await expect(read(IOVA, PAGE)).rejects.toThrow(code('EACCES'));
  });

  test('before the start, of part of a mapping, in other pages: EINVAL', async () => {
    await withIommu(TYPE1V2);
    await iommuMapDma(container, vaddr, IOVA, 4n * PAGE, READ_WRITE);
    await expect(read(IOVA, 4n * PAGE)).rejects.toThrow(code('EINVAL'));
    await iommuDirtyPagesStart(container);
    await iommuDirtyPagesStart(container);
    for (const [iova, size, page] of [
      [IOVA, 2n * PAGE, 4096],
      [IOVA + PAGE, 3n * PAGE, 4096],
      [IOVA, 4n * PAGE, 16384],
      [IOVA + 8n, 4n * PAGE, 4096],
    ] as const) {
      await expect(read(iova, size, page)).rejects.toThrow(code('EINVAL'));
    }
    expect((await read(IOVA, 4n * PAGE))[0]).toBe(0b1111);
    await iommuDirtyPagesStop(container);
    await expect(read(IOVA, 4n * PAGE)).rejects.toThrow(code('EINVAL'));
    await iommuUnmapDma(container, IOVA, 4n * PAGE);
  });
});
