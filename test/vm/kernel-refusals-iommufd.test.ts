/**
 * What iommufd and the devices bound to it refuse, asked by bare requests: the library never asks for it.
 *
 * @kernel lab
 */
import { constants as fsConstants } from 'node:fs';
import type { Device } from 'vfio';
import { cdevPath } from '../../src/device/cdev';
import { Region } from '../../src/device/region';
import { IOMMUFD_PATH } from '../../src/dma/container';
import { allocateMemory, type Memory } from '../../src/dma/memory';
import * as abi from '../../src/ioctl/abi/iommufd-constants';
import { iommu_ioas_alloc, iommu_ioas_map } from '../../src/ioctl/abi/iommufd-structs';
import { callStruct } from '../../src/ioctl/call';
import {
  deviceAttachIommufdPt,
  deviceBindIommufd,
  deviceDetachIommufdPt,
} from '../../src/ioctl/cdev';
import { deviceGetInfo, deviceGetIrqInfo, deviceGetRegionInfo } from '../../src/ioctl/device';
import { groupSetContainer } from '../../src/ioctl/group';
import { iommuDestroy, iommuOptionGet } from '../../src/ioctl/iommufd';
import { iommuIoasAlloc, iommuIoasMap, iommuIoasUnmap } from '../../src/ioctl/iommufd-ioas';
import { native } from '../../src/native';
import { deviceReads, deviceWrites } from './edu-dma';
import { bound, findDevice, vfioResources } from './lab-devices';

const READ_WRITE = abi.IOMMU_IOAS_MAP_READABLE | abi.IOMMU_IOAS_MAP_WRITEABLE;
const PAGE = 4096n;
const IOVA = 0x10_0000n;
const BAR0 = 0;
const CONFIG = 7;
const PCI_COMMAND = 4;
const BUS_MASTER = 4;
const EBUSY = 16;

const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });
const open = (path: string) => native.open(path, fsConstants.O_RDWR);

bound('edu');

describe('bare iommufd', () => {
  let before: string[];
  let iommufd: number;
  let ioas: number;
  let device: number;
  let memory: Memory;
  let vaddr: bigint;

  beforeEach(() => {
    before = vfioResources();
    iommufd = open(IOMMUFD_PATH);
    ioas = iommuIoasAlloc(iommufd);
    device = open(cdevPath(findDevice('edu'))!);
    memory = allocateMemory(4 * Number(PAGE), 'no');
    vaddr = native.rangeAddress(memory.range) as bigint;
  });

  afterEach(async () => {
    await native.closeAsync(device);
    await native.closeAsync(iommufd);
    native.rangeRelease(memory.range);
    expect(vfioResources()).toEqual(before);
  });

  const map = (iova: bigint, length: bigint, flags = READ_WRITE, ioasId = ioas) =>
    iommuIoasMap(iommufd, vaddr, { ioasId, iova, length, flags });

  test('a device does nothing before it is bound', async () => {
    for (const ask of [deviceGetInfo, () => deviceGetRegionInfo(device, BAR0)]) {
      expect(() => ask(device)).toThrow(code('EINVAL'));
    }
    expect(() => deviceGetIrqInfo(device, 0)).toThrow(code('EINVAL'));
    await expect(deviceAttachIommufdPt(device, ioas)).rejects.toThrow(code('EINVAL'));
    await expect(deviceDetachIommufdPt(device)).rejects.toThrow(code('EINVAL'));
    expect(native.pread(device, new Uint8Array(4), 0)).toBe(-22);
  });

  test('it is bound once, to an iommufd', async () => {
    await expect(deviceBindIommufd(device, -1)).rejects.toThrow(code('EINVAL'));
    await expect(deviceBindIommufd(device, device)).rejects.toThrow(code('EBADFD'));
    await expect(deviceBindIommufd(device, 12345)).rejects.toThrow(code('EBADF'));
    expect(await deviceBindIommufd(device, iommufd)).toBeGreaterThan(0);
    await expect(deviceBindIommufd(device, iommufd)).rejects.toThrow(code('EINVAL'));
    const second = open(cdevPath(findDevice('edu'))!);
    await expect(deviceBindIommufd(second, iommufd)).rejects.toThrow(code('EINVAL'));
    native.close(second);
    expect(deviceGetInfo(device).numRegions).toBeGreaterThan(7);
  });

  test('it is attached to a page table of its iommufd', async () => {
    const id = await deviceBindIommufd(device, iommufd);
    await expect(deviceAttachIommufdPt(device, 12345)).rejects.toThrow(code('ENOENT'));
    await expect(deviceAttachIommufdPt(device, id)).rejects.toThrow(code('EINVAL'));
    await deviceAttachIommufdPt(device, ioas);
    expect(() => iommuDestroy(iommufd, ioas)).toThrow(code('EBUSY'));
    await expect(deviceAttachIommufdPt(device, ioas, 1)).rejects.toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^(EINVAL|EOPNOTSUPP)$/) }),
    );
    await deviceDetachIommufdPt(device);
    iommuDestroy(iommufd, ioas);
  });

  test('group and character device exclude each other', async () => {
    const path = `/dev/vfio/${findDevice('edu').iommuGroup}`;
    const group = open(path);
    await expect(deviceBindIommufd(device, iommufd)).rejects.toThrow(code('EBUSY'));
    groupSetContainer(group, iommufd);
    await expect(deviceBindIommufd(device, iommufd)).rejects.toThrow(code('EBUSY'));
    native.close(group);
    await deviceBindIommufd(device, iommufd);
    expect(open(path)).toBe(-EBUSY);
  });

  test('DETACH stops the DMA, and ATTACH lets it go on', async () => {
    await deviceBindIommufd(device, iommufd);
    await map(IOVA, 2n * PAGE);
    const region = (index: number) =>
      new Region('edu', device, `region ${index}`, deviceGetRegionInfo(device, index));
    const [bar, config] = [region(BAR0), region(CONFIG)];
    const edu: Pick<Device, 'region'> = { region: () => bar };
    config.write16(PCI_COMMAND, config.read16(PCI_COMMAND) | BUS_MASTER);
    const bytes = native.rangeBuffer(memory.range, 0, memory.size) as ArrayBuffer;
    const words = new Uint32Array(bytes);
    try {
      await deviceAttachIommufdPt(device, ioas);
      words.fill(0x1234, 0, 1024);
      await deviceReads(edu, IOVA);
      await deviceDetachIommufdPt(device);
      await deviceWrites(edu, IOVA + PAGE);
      expect(words.subarray(1024, 2048).every((word) => word === 0)).toBe(true);
      await deviceAttachIommufdPt(device, ioas);
      await deviceWrites(edu, IOVA + PAGE);
      expect(words.subarray(1024, 2048).every((word) => word === 0x1234)).toBe(true);
    } finally {
      bar.close();
      config.close();
    }
  });

  test('IOAS_MAP and IOAS_UNMAP', async () => {
    const unmap = (iova: bigint, length: bigint) => iommuIoasUnmap(iommufd, ioas, iova, length);
    await map(IOVA, 4n * PAGE);
    for (const [expected, iova, length, flags, id] of [
      ['EEXIST', IOVA + PAGE, PAGE, READ_WRITE, ioas],
      ['EINVAL', 2n * IOVA, 0n, READ_WRITE, ioas],
      ['EINVAL', 2n * IOVA, PAGE, 0, ioas],
      ['EOVERFLOW', (1n << 64n) - PAGE, 2n * PAGE, READ_WRITE, ioas],
      ['EOPNOTSUPP', 2n * IOVA, PAGE, READ_WRITE | (1 << 30), ioas],
      ['ENOENT', 2n * IOVA, PAGE, READ_WRITE, 12345],
    ] as const) {
      await expect(map(iova, length, flags, id)).rejects.toThrow(code(expected));
    }
    await expect(unmap(IOVA, PAGE)).rejects.toThrow(code('ENOENT'));
    await expect(unmap(IOVA + PAGE, PAGE)).rejects.toThrow(code('ENOENT'));
    await expect(unmap(2n * IOVA, PAGE)).rejects.toThrow(code('ENOENT'));
    expect(await unmap(IOVA, 4n * PAGE)).toBe(4n * PAGE);
    await expect(unmap(IOVA, 4n * PAGE)).rejects.toThrow(code('ENOENT'));
  });

  test('what the kernel does not know: a tail is E2BIG unless it is zeros, an option EOPNOTSUPP', () => {
    const longer = iommu_ioas_alloc.create(8);
    longer.bytes[iommu_ioas_alloc.size + 3] = 1;
    expect(() => callStruct(iommufd, 'IOMMU_IOAS_ALLOC', longer)).toThrow(code('E2BIG'));
    callStruct(iommufd, 'IOMMU_IOAS_ALLOC', iommu_ioas_alloc.create(8));
    const shorter = iommu_ioas_map.create();
    new DataView(shorter.bytes.buffer).setUint32(0, 8, true);
    expect(() => callStruct(iommufd, 'IOMMU_IOAS_MAP', shorter)).toThrow(code('EINVAL'));
    expect(() => iommuOptionGet(iommufd, 77, 0)).toThrow(code('EOPNOTSUPP'));
    expect(() => iommuDestroy(iommufd, 12345)).toThrow(code('ENOENT'));
  });
});
