import { constants } from 'node:os';
import * as c from '../../src/ioctl/abi/constants';
import * as s from '../../src/ioctl/abi/structs';
import * as container from '../../src/ioctl/container';
import * as dirty from '../../src/ioctl/dirty-pages';
import { answer, FD, memoryAt, rangesLent } from './fake-requests';

jest.mock('../../src/native', () => require('./fake-requests'));

const { EINVAL } = constants.errno;

afterEach(() => {
  expect(rangesLent()).toBe(0);
});

test('GET_INFO tells what dirty tracking can do', () => {
  const { size } = s.vfio_iommu_type1_info;
  const cap = s.vfio_iommu_type1_info_cap_migration;
  answer('VFIO_IOMMU_GET_INFO', (bytes) => {
    const info = s.vfio_iommu_type1_info.view(bytes);
    info.flags = c.VFIO_IOMMU_INFO_CAPS;
    info.cap_offset = size;
    info.argsz = size + cap.size;
    if (bytes.length < info.argsz) return 0;
    const at = bytes.subarray(size);
    s.vfio_info_cap_header.view(at).id = c.VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION;
    cap.view(at).pgsize_bitmap = 4096n;
    cap.view(at).max_dirty_bitmap_size = 1n << 28n;
    return 0;
  });
  expect(container.iommuGetInfo(FD)).toMatchObject({
    iovaRanges: undefined,
    migration: { pageSizes: 4096n, maxDirtyBitmapSize: 1n << 28n },
  });
});

test('process addresses are taken from mappings and given back', async () => {
  const calls: unknown[] = [];
  answer('VFIO_IOMMU_UNMAP_DMA', (bytes) => {
    const { flags, iova, size } = s.vfio_iommu_type1_dma_unmap.view(bytes);
    calls.push([flags, iova, size]);
    return 0;
  });
  answer('VFIO_IOMMU_MAP_DMA', (bytes) => {
    const { flags, vaddr, iova, size } = s.vfio_iommu_type1_dma_map.view(bytes);
    calls.push([flags, vaddr, iova, size]);
    return 0;
  });
  await container.iommuUnmapDmaVaddr(FD, 0x1000n, 0x2000n);
  await container.iommuUnmapAllVaddr(FD);
  await container.iommuMapDmaVaddr(FD, 0x7000_0000n, 0x1000n, 0x2000n);
  expect(calls).toEqual([
    [c.VFIO_DMA_UNMAP_FLAG_VADDR, 0x1000n, 0x2000n],
    [c.VFIO_DMA_UNMAP_FLAG_VADDR | c.VFIO_DMA_UNMAP_FLAG_ALL, 0n, 0n],
    [c.VFIO_DMA_MAP_FLAG_VADDR, 0x7000_0000n, 0x1000n, 0x2000n],
  ]);
});

describe('dirty pages', () => {
  const bitmapAt = (bytes: Uint8Array<ArrayBuffer>) => {
    const { pgsize, size, data } = s.vfio_bitmap.view(bytes);
    expect([pgsize, size]).toEqual([4096n, 16n]);
    return memoryAt(data);
  };
  const expected = new Uint8Array(16);
  expected[8] = 1;

  test('are told between start and stop', async () => {
    let tracking = false;
    answer('VFIO_IOMMU_DIRTY_PAGES', (bytes) => {
      const { flags } = s.vfio_iommu_type1_dirty_bitmap.view(bytes);
      if (flags !== c.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP) {
        tracking = flags === c.VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
        return bytes.length === 8 ? 0 : -EINVAL;
      }
      const get = s.vfio_iommu_type1_dirty_bitmap_get.view(bytes.subarray(8));
      expect([bytes.length, get.iova, get.size]).toEqual([48, 0x10_0000n, 65n << 12n]);
      if (!tracking) return -EINVAL;
      bitmapAt(bytes.subarray(24))[8] = 1;
      return 0;
    });
    const read = () => dirty.iommuDirtyPagesGetBitmap(FD, 0x10_0000n, 65n << 12n, 4096);
    await dirty.iommuDirtyPagesStart(FD);
    expect(await read()).toEqual(expected);
    await dirty.iommuDirtyPagesStop(FD);
    await expect(read()).rejects.toMatchObject({ code: 'EINVAL', ioctl: 'VFIO_IOMMU_DIRTY_PAGES' });
  });

  test('are told as their mapping goes', async () => {
    answer('VFIO_IOMMU_UNMAP_DMA', (bytes) => {
      const arg = s.vfio_iommu_type1_dma_unmap.view(bytes);
      expect([bytes.length, arg.flags]).toEqual([48, c.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP]);
      bitmapAt(bytes.subarray(24))[8] = 1;
      arg.size = 64n << 12n;
      return 0;
    });
    expect(await dirty.iommuUnmapDmaGetDirtyBitmap(FD, 0x10_0000n, 65n << 12n, 4096)).toEqual({
      size: 64n << 12n,
      bitmap: expected,
    });
  });
});
