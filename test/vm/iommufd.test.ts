/**
 * What iommufd can and a container cannot: moving devices, sharing mappings, BARs by dma-buf.
 *
 * @kernel lab
 */
import { closeSync, constants as fsConstants, openSync, readdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { type AddressSpace, type Device, openAddressSpace, openDevice } from 'vfio';
import { Container, IOMMUFD_PATH } from '../../src/dma/container';
import { allocateMemory } from '../../src/dma/memory';
import { MEMORY_DEVICE, native } from '../../src/native';
import { times } from '../fixtures/scale';
import { deviceReads, deviceWrites, eduMask } from './edu-dma';
import { bound, findDevice } from './lab-devices';

const PAGE = 4096;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

bound('edu', 'igb', 'nvme');

describe('iommufd', () => {
  let space: AddressSpace;
  let edu: Device;

  beforeEach(async () => {
    space = openAddressSpace({ backend: 'iommufd' });
    edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
    edu.enableBusMaster();
  });

  afterEach(async () => {
    await edu.close();
    await space.close();
  });

  test('a device moves to another space, and its DMA with it', async () => {
    const other = space.sibling();
    const here = await space.alloc(PAGE, eduMask);
    const there = await other.alloc(PAGE, { iova: here.iova });
    here.u32.fill(1);
    there.u32.fill(2);
    await deviceReads(edu, here.iova);
    await edu.moveTo(other);
    expect(edu.dma).toBe(other);
    await deviceWrites(edu, there.iova);
    expect([here.u32[0], there.u32[0]]).toEqual([1, 1]);
    await edu.moveTo(space);
    there.u32.fill(3);
    here.u32.fill(4);
    await deviceReads(edu, here.iova);
    here.u32.fill(0);
    await deviceWrites(edu, here.iova);
    expect([here.u32[0], there.u32[0]]).toEqual([4, 3]);
    await other.close();
    expect(edu.closed).toBe(false);
  });

  test('a device that moves to where it is stays open, with its space and its buffers', async () => {
    const own = await openDevice(findDevice('nvme').bdf, { backend: 'iommufd' });
    const buffer = await own.dma.alloc(PAGE);
    await own.moveTo(own.dma);
    buffer.u32[0] = 1;
    expect([own.closed, own.dma.closed, buffer.closed]).toEqual([false, false, false]);
    expect(own.dma.usage().mappings).toBe(1);
    await own.close();
    await edu.moveTo(space);
    const here = await space.alloc(PAGE, eduMask);
    here.u32.fill(5);
    await deviceReads(edu, here.iova);
  });

  test("another device's descriptor is refused, and is still its owner's", async () => {
    const { bdf } = findDevice('igb');
    const [node] = readdirSync(`/sys/bus/pci/devices/${bdf}/vfio-dev`);
    const fd = openSync(`/dev/vfio/devices/${node}`, 'r+');
    const opened = openDevice(findDevice('nvme').bdf, { backend: 'iommufd', fds: { device: fd } });
    await expect(opened).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    const igb = await openDevice(bdf, { backend: 'iommufd', fds: { device: fd } });
    expect(igb.config.read16(0)).toBe(0x8086);
    closeSync(fd);
    expect(igb.config.read16(0)).toBe(0x8086);
    await igb.close();
  });

  test('a device does not move to a space of another iommufd, and stays where it is', async () => {
    const foreign = openAddressSpace({ backend: 'iommufd' });
    await expect(edu.moveTo(foreign)).rejects.toThrow(code('ERR_VFIO_OTHER_ADDRESS_SPACE'));
    const buffer = await space.alloc(PAGE, eduMask);
    await deviceWrites(edu, buffer.iova);
    await foreign.close();
    expect(edu.closed).toBe(false);
  });

  test('a space with its own device is left behind closed', async () => {
    const nvme = await openDevice(findDevice('nvme').bdf, { backend: 'iommufd' });
    const own = nvme.dma;
    const other = own.sibling();
    await nvme.moveTo(other);
    expect(own.closed).toBe(true);
    await other.alloc(PAGE);
    await other.close();
    expect(nvme.closed).toBe(true);
  });

  test('two spaces map the same memory, which is pinned once', async () => {
    const other = space.sibling();
    const buffer = await space.alloc(PAGE, eduMask);
    const before = space.usage().memlockUsed;
    const copy = await other.mapFrom(space, buffer, { iova: 0x40_0000n });
    expect(space.usage().memlockUsed).toBe(before);
    buffer.u32.fill(0x77);
    await deviceReads(edu, buffer.iova);
    buffer.u32.fill(0);
    await edu.moveTo(other);
    await deviceWrites(edu, copy.iova);
    expect(buffer.u32[9]).toBe(0x77);
    const foreign = openAddressSpace({ backend: 'iommufd' });
    await expect(foreign.mapFrom(space, buffer)).rejects.toThrow(
      code('ERR_VFIO_OTHER_ADDRESS_SPACE'),
    );
    await foreign.close();
    await edu.moveTo(space);
    await other.close();
  });

  test('ranges that are to stay usable are the only ones used', async () => {
    const lone = space.sibling();
    const buffer = await lone.alloc(PAGE, { iova: 0x900_0000n });
    const ranges = [{ start: 0x100_0000n, end: 0x1ff_ffffn }];
    expect(() => lone.allowIovas(ranges)).toThrow(code('ERR_VFIO_IOVA_OUTSIDE'));
    await buffer.close();
    lone.allowIovas(ranges);
    expect(lone.iovaRanges).toEqual(ranges);
    const inside = await lone.alloc(PAGE);
    expect(inside.iova).toBe(0x100_0000n);
    await inside.close();
    await edu.moveTo(lone);
    expect(lone.iovaRanges).toEqual(ranges);
    const reserved = [{ start: 0xfee0_0000n, end: 0xfeef_ffffn }];
    expect(() => lone.allowIovas(reserved)).toThrow(code('EADDRINUSE'));
    await edu.moveTo(space);
    await lone.close();
  });

  test("another device's BAR by its dma-buf", async () => {
    const igb = await openDevice(findDevice('igb').bdf, { addressSpace: space });
    const bar = igb.region('bar0');
    const mapping = await space.mapRegion(bar, { ...eduMask, size: 4 * PAGE });
    // STATUS is read-only: what edu reads must be what the process reads.
    await deviceReads(edu, mapping.iova + 8n, 4);
    const buffer = await space.alloc(PAGE, eduMask);
    await deviceWrites(edu, buffer.iova, 4);
    expect(buffer.u32[0]).toBe(bar.read32(8));
    await mapping.close();
    await igb.close();
  });

  test('the IOMMU in front of a device, and PASIDs that it has not', async () => {
    const info = edu.iommuInfo();
    expect(info.type).toBe(1);
    expect(info.maxPasidLog2).toBe(0);
    const other = space.sibling();
    await expect(edu.attachPasid(1, other)).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
    const buffer = await space.alloc(PAGE, eduMask);
    await deviceWrites(edu, buffer.iova);
    await other.close();
  });

  test('no dirty tracking in this IOMMU: said so, and nothing is changed', async () => {
    await expect(space.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
    const range = { iova: 0n, size: PAGE };
    await expect(edu.dmaLogging.start([range])).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
    const buffer = await space.alloc(PAGE, eduMask);
    await deviceWrites(edu, buffer.iova);
  });

  test('options of the whole iommufd and of one space', async () => {
    const plain = openAddressSpace({
      backend: 'iommufd',
      accounting: 'process',
      ioPages: 'single',
    });
    writeFileSync('/proc/sys/vm/nr_hugepages', '4');
    const device = await openDevice(findDevice('nvme').bdf, { addressSpace: plain });
    await (await device.dma.alloc(2 << 20, { hugePages: 'require' })).close();
    await plain.close();
  });
});

test('a part of a huge page is not mapped: the kernel would replace what is behind it, too', () => {
  const HUGE = 2 << 20;
  const MFD_HUGETLB_2MB = 4 | (21 << 26);
  writeFileSync('/proc/sys/vm/nr_hugepages', '4');
  const fd = native.memfdCreate(2 * HUGE, MFD_HUGETLB_2MB);
  const map = (range: number, length: number, offset: number) =>
    native.rangeMap(range, 0, length, MEMORY_DEVICE, 3, fd, offset);
  const range = native.rangeReserve(2 * HUGE, HUGE);
  const EINVAL = -constants.errno.EINVAL;
  expect([map(range, PAGE, 0), map(range, HUGE, PAGE), map(range, HUGE + PAGE, 0)]).toEqual(
    Array(3).fill(EINVAL),
  );
  const odd = native.rangeReserve(HUGE + PAGE, PAGE);
  const start = native.rangeAddress(odd) as bigint;
  const unaligned = start % BigInt(HUGE) === 0n ? PAGE : 0;
  expect(native.rangeMap(odd, unaligned, HUGE, MEMORY_DEVICE, 3, fd, 0)).toBe(EINVAL);
  expect(map(range, HUGE, HUGE)).toBe(0);
  for (const used of [range, odd]) native.rangeRelease(used);
  native.close(fd);
});

/** Without a device nothing is pinned, which would take its time. */
test('iommufd has no limit of mappings, not even as a container', async () => {
  const count = times(4096, 65_536) + 1;
  const at = (i: number) => 0x1_0000_0000n + BigInt(i) * 8192n;
  const { range } = allocateMemory(PAGE, 'no');
  const vaddr = native.rangeAddress(range) as bigint;

  const space = openAddressSpace({ backend: 'iommufd' });
  const { kernelSpace } = space;
  for (let i = 0; i < count; i++) await kernelSpace.map(vaddr, at(i), 4096n, 'read-write');
  expect(space.usage().mappingsLeft).toBeUndefined();
  expect(await kernelSpace.unmap(at(77), 4096n)).toBe(4096n);
  expect(await kernelSpace.unmapAll()).toBe(BigInt(count - 1) * 4096n);
  await space.close();

  // As a container, all the same: with a group, and none of its devices open.
  const container = Container.open('type1v2', IOMMUFD_PATH);
  const group = native.open(`/dev/vfio/${findDevice('edu').iommuGroup}`, fsConstants.O_RDWR);
  await container.attachGroup(group);
  for (let i = 0; i < count; i++) await container.map(vaddr, at(i), 4096n, 'read-write');
  expect(await container.unmapAll()).toBe(BigInt(count) * 4096n);
  await container.detachGroup(group);
  native.close(group);
  container.close();
  native.rangeRelease(range);
}, 300_000);

test('iommufd has no addresses to update, and says so', async () => {
  const space = openAddressSpace({ backend: 'iommufd' });
  const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const mapping = await space.map(new Uint8Array(buffer));
  await expect(space.updateVaddr(mapping, new Uint8Array(buffer))).rejects.toThrow(
    code('ERR_VFIO_UNSUPPORTED'),
  );
  await space.close();
});

test('a container has none of this, and says so', async () => {
  const space = openAddressSpace({ backend: 'group' });
  const edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
  for (const attempt of [
    () => space.sibling(),
    () => space.allowIovas([]),
    () => edu.iommuInfo(),
    () => openAddressSpace({ backend: 'group', ioPages: 'single' }),
  ]) {
    expect(attempt).toThrow(code('ERR_VFIO_UNSUPPORTED'));
  }
  const other = openAddressSpace({ backend: 'group' });
  await expect(edu.moveTo(other)).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  expect(edu.dma).toBe(space);
  await Promise.all([space.close(), other.close()]);
});
