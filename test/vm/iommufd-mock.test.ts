/**
 * iommufd on the kernel's mock IOMMU, which tells what no real one here can: dirty pages, PASIDs, page requests.
 *
 * @kernel lab
 */
import { readSync, writeSync } from 'node:fs';
import { type AddressSpace, openAddressSpace } from 'vfio';
import type { Ioas } from '../../src/dma/ioas';
import { Pasids } from '../../src/dma/pasids';
import * as abi from '../../src/ioctl/abi/iommufd-constants';
import { iommu_hwpt_page_response, iommu_hwpt_pgfault } from '../../src/ioctl/abi/iommufd-structs';
import { iommuDestroy, iommuHwInfo } from '../../src/ioctl/iommufd';
import { iommuFaultQueueAlloc, iommuHwptAlloc } from '../../src/ioctl/iommufd-hwpt';
import { native } from '../../src/native';
import { MockDevice } from './mock-iommu';

const PAGE = 4096;

describe('the mock IOMMU', () => {
  let space: AddressSpace;
  let ioas: Ioas;
  let device: MockDevice;

  beforeEach(() => {
    space = openAddressSpace({ backend: 'iommufd', ioPages: 'single' });
    ioas = space.kernelSpace as Ioas;
    device = new MockDevice(ioas.iommufd, ioas.id);
    ioas.addDevice(device);
    space.assertUsable();
  });

  afterEach(async () => {
    iommuDestroy(ioas.iommufd, device.object);
    ioas.removeDevice(device);
    await space.close();
  });

  test('narrows the space to its aperture', () => {
    expect(space.iovaRanges).toEqual([{ start: 1n << 24n, end: (1n << 31n) - 1n }]);
  });

  test('tells dirty pages apart: exactly those that the device wrote to, and each once', async () => {
    const pages = 256;
    const buffer = await space.alloc(pages * PAGE);
    const other = await space.alloc(PAGE);
    await space.dirty.start();
    const written = [0, 1, 2, 63, 64, 200, 255];
    device.write(buffer.iova, buffer.size, PAGE, written);
    device.write(other.iova, 8 * PAGE, PAGE, [0]);

    const dirty = await space.dirty.read(buffer);
    expect(dirty.count).toBe(written.length);
    expect(
      [...dirty.ranges()].map(({ iova, size }) => [
        Number(iova - buffer.iova) / PAGE,
        Number(size) / PAGE,
      ]),
    ).toEqual([
      [0, 3],
      [63, 2],
      [200, 1],
      [255, 1],
    ]);
    expect((await space.dirty.read(other)).count).toBe(1);
    expect((await space.dirty.read(buffer)).count).toBe(0);
    device.write(buffer.iova, buffer.size, PAGE, [100]);
    const coarse = await space.dirty.read(buffer, 16 * PAGE);
    expect([...coarse.ranges()]).toEqual([{ iova: buffer.iova + 96n * 4096n, size: 65536n }]);
    device.write(buffer.iova, buffer.size, PAGE, [31]);
    const last = await space.dirty.last(buffer);
    expect([last.count, last.isDirty(buffer.iova + 31n * 4096n)]).toEqual([1, true]);
    expect(buffer.u8[0]).toBe(0);
    await space.dirty.stop();
    await expect(space.dirty.read(buffer)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_INVALID_ARGUMENT' }),
    );
  });

  test('an IOMMU without dirty tracking is told from one with', async () => {
    const info = iommuHwInfo(ioas.iommufd, device.id);
    expect(info.maxPasidLog2).toBe(20);
    expect(info.capabilities & BigInt(abi.IOMMU_HW_CAP_DIRTY_TRACKING)).not.toBe(0n);
  });

  test('a PASID reaches a space of its own', async () => {
    const other = space.sibling();
    const otherIoas = other.kernelSpace as Ioas;
    const pasids = new Pasids(ioas.iommufd, device);
    const before = device.hwpt;
    await pasids.attach(7, otherIoas.id, ioas.id);
    expect(device.pasidIsOn(7, 0)).toBe(false);
    expect(device.hwpt).not.toBe(before);
    await pasids.attach(8, ioas.id, ioas.id);
    await pasids.attach(7, ioas.id, ioas.id);
    await pasids.detach(7, ioas.id);
    expect(device.pasidIsOn(7, 0)).toBe(true);
    expect(device.pasidIsOn(8, 0)).toBe(false);
    await pasids.detach(8, ioas.id);
    expect(device.hwpt).not.toBe(0);
    for (const wrong of [0, 1 << 20, 1.5]) {
      await expect(pasids.attach(wrong, otherIoas.id, ioas.id)).rejects.toThrow(
        expect.objectContaining({ code: 'ERR_VFIO_INVALID_ARGUMENT' }),
      );
    }
    await other.close();
  });

  test('page requests are read from a queue, and answered', async () => {
    const queue = iommuFaultQueueAlloc(ioas.iommufd);
    const hwpt = await iommuHwptAlloc(ioas.iommufd, device.id, ioas.id, 0, queue.id);
    await device.attach(hwpt);
    device.requestPage(0x1234_5000n, 3);
    const request = iommu_hwpt_pgfault.create();
    expect(readSync(queue.fd, request.bytes)).toBe(iommu_hwpt_pgfault.size);
    expect(request).toMatchObject({ dev_id: device.id, grpid: 3, addr: 0x1234_5000n });
    const response = iommu_hwpt_page_response.create();
    response.cookie = request.cookie;
    response.code = abi.IOMMUFD_PAGE_RESP_SUCCESS;
    expect(writeSync(queue.fd, response.bytes)).toBe(iommu_hwpt_page_response.size);
    expect(() => writeSync(queue.fd, response.bytes)).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    await device.attach(ioas.id);
    iommuDestroy(ioas.iommufd, hwpt);
    native.close(queue.fd);
    iommuDestroy(ioas.iommufd, queue.id);
  });
});
