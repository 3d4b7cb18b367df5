import { constants } from 'node:os';
import * as c from '../../src/ioctl/abi/iommufd-constants';
import * as s from '../../src/ioctl/abi/iommufd-structs';
import { iommu_hw_info_vtd } from '../../src/ioctl/abi/iommufd-vendor-structs';
import * as iommufd from '../../src/ioctl/iommufd';
import * as hwpt from '../../src/ioctl/iommufd-hwpt';
import * as ioas from '../../src/ioctl/iommufd-ioas';
import { adopted, answer, FD, memoryAt, rangesLent } from './fake-requests';

jest.mock('../../src/native', () => require('./fake-requests'));

const { EMSGSIZE, ENOENT, EOPNOTSUPP } = constants.errno;

afterEach(() => {
  expect(rangesLent()).toBe(0);
});

describe('address spaces', () => {
  test('are allocated and destroyed by their id', () => {
    answer('IOMMU_IOAS_ALLOC', (bytes) => {
      s.iommu_ioas_alloc.view(bytes).out_ioas_id = 7;
      return 0;
    });
    const destroyed: number[] = [];
    answer('IOMMU_DESTROY', (bytes) => destroyed.push(s.iommu_destroy.view(bytes).id) && 0);
    iommufd.iommuDestroy(FD, ioas.iommuIoasAlloc(FD));
    expect(destroyed).toEqual([7]);
  });

  test.each([1, 16, 17, 300])('tell all of %d usable ranges', (count) => {
    const capacities: number[] = [];
    answer('IOMMU_IOAS_IOVA_RANGES', (bytes) => {
      const arg = s.iommu_ioas_iova_ranges.view(bytes);
      const capacity = arg.num_iovas;
      capacities.push(capacity);
      arg.num_iovas = count;
      arg.out_iova_alignment = 4096n;
      const memory = memoryAt(arg.allowed_iovas);
      for (let i = 0; i < Math.min(count, capacity); i++) {
        const range = s.iommu_iova_range.view(memory.subarray(i * 16));
        range.start = BigInt(i) << 20n;
        range.last = range.start + 0xffffn;
      }
      return count > capacity ? -EMSGSIZE : 0;
    });
    const { ranges, alignment } = ioas.iommuIoasIovaRanges(FD, 7);
    expect(alignment).toBe(4096n);
    expect(ranges).toHaveLength(count);
    expect(ranges.at(-1)).toEqual({
      start: BigInt(count - 1) << 20n,
      end: (BigInt(count - 1) << 20n) + 0xffffn,
    });
    expect(capacities).toEqual(count > 16 ? [16, count] : [16]);
  });

  test('that want a larger array and do not say which, are an error and no endless loop', () => {
    let calls = 0;
    answer('IOMMU_IOAS_IOVA_RANGES', () => (++calls < 10 ? -EMSGSIZE : 0));
    expect(() => ioas.iommuIoasIovaRanges(FD, 7)).toThrow(
      expect.objectContaining({ code: 'EMSGSIZE', ioctl: 'IOMMU_IOAS_IOVA_RANGES' }),
    );
  });

  test('keep the ranges they are told to', () => {
    let told: unknown;
    answer('IOMMU_IOAS_ALLOW_IOVAS', (bytes) => {
      const { ioas_id, num_iovas, allowed_iovas } = s.iommu_ioas_allow_iovas.view(bytes);
      const second = s.iommu_iova_range.view(memoryAt(allowed_iovas).subarray(16));
      told = { ioas_id, num_iovas, start: second.start, last: second.last };
      return 0;
    });
    ioas.iommuIoasAllowIovas(FD, 7, [
      { start: 0n, end: 0xfffn },
      { start: 0x10000n, end: 0x1ffffn },
    ]);
    expect(told).toEqual({ ioas_id: 7, num_iovas: 2, start: 0x10000n, last: 0x1ffffn });
  });
});

describe('mappings', () => {
  const flags = c.IOMMU_IOAS_MAP_READABLE | c.IOMMU_IOAS_MAP_WRITEABLE;
  const mapping = { ioasId: 7, length: 0x2000n, flags };

  test.each([
    ['an IOVA of the kernel', undefined, flags, 0x5000n],
    ['a given IOVA', 0x9000n, flags | c.IOMMU_IOAS_MAP_FIXED_IOVA, 0x9000n],
    ['a given IOVA of 0', 0n, flags | c.IOMMU_IOAS_MAP_FIXED_IOVA, 0n],
  ])('of memory, files and other mappings go to %s', async (_, iova, expectedFlags, result) => {
    const place = (arg: { flags: number }, given: bigint) => {
      expect(arg.flags).toBe(expectedFlags);
      return arg.flags & c.IOMMU_IOAS_MAP_FIXED_IOVA ? given : 0x5000n;
    };
    answer('IOMMU_IOAS_MAP', (bytes) => {
      const arg = s.iommu_ioas_map.view(bytes);
      expect(arg).toMatchObject({ ioas_id: 7, user_va: 0x7000_0000_1000n, length: 0x2000n });
      arg.iova = place(arg, arg.iova);
      return 0;
    });
    answer('IOMMU_IOAS_MAP_FILE', (bytes) => {
      const arg = s.iommu_ioas_map_file.view(bytes);
      expect(arg).toMatchObject({ ioas_id: 7, fd: 9, start: 0x1000n, length: 0x2000n });
      arg.iova = place(arg, arg.iova);
      return 0;
    });
    answer('IOMMU_IOAS_COPY', (bytes) => {
      const arg = s.iommu_ioas_copy.view(bytes);
      expect(arg).toMatchObject({ dst_ioas_id: 7, src_ioas_id: 8, src_iova: 0x3000n });
      arg.dst_iova = place(arg, arg.dst_iova);
      return 0;
    });
    const target = { ...mapping, iova };
    expect(await ioas.iommuIoasMap(FD, 0x7000_0000_1000n, target)).toBe(result);
    expect(await ioas.iommuIoasMapFile(FD, { fd: 9, start: 0x1000n }, target)).toBe(result);
    expect(await ioas.iommuIoasCopy(FD, { ioasId: 8, iova: 0x3000n }, target)).toBe(result);
  });

  test('are taken away one by one or all at once; none is an error', async () => {
    answer('IOMMU_IOAS_UNMAP', (bytes) => {
      const arg = s.iommu_ioas_unmap.view(bytes);
      if (arg.iova === 0x9000n) return -ENOENT;
      if (arg.length === 0xffff_ffff_ffff_ffffn) arg.length = 0x4000n;
      return 0;
    });
    expect(await ioas.iommuIoasUnmap(FD, 7, 0x5000n, 0x2000n)).toBe(0x2000n);
    expect(await ioas.iommuIoasUnmapAll(FD, 7)).toBe(0x4000n);
    await expect(ioas.iommuIoasUnmap(FD, 7, 0x9000n, 0x2000n)).rejects.toMatchObject({
      code: 'ENOENT',
      ioctl: 'IOMMU_IOAS_UNMAP',
    });
  });

  test('have a physical address where there is no IOMMU', () => {
    answer('IOMMU_IOAS_NOIOMMU_GET_PA', (bytes) => {
      const arg = s.iommu_ioas_noiommu_get_pa.view(bytes);
      arg.out_phys = arg.iova + 0x1_0000_0000n;
      arg.length = 0x1000n;
      return 0;
    });
    expect(ioas.iommuIoasNoiommuGetPa(FD, { ioasId: 7, iova: 0x5000n }, 0x2000n)).toEqual({
      address: 0x1_0000_5000n,
      length: 0x1000n,
    });
  });
});

test('options are read and written', () => {
  const options = new Map<string, bigint>();
  answer('IOMMU_OPTION', (bytes) => {
    const arg = s.iommu_option.view(bytes);
    const key = `${arg.option_id}/${arg.object_id}`;
    if (arg.op === c.IOMMU_OPTION_OP_GET) arg.val64 = options.get(key) ?? 1n;
    else options.set(key, arg.val64);
    return 0;
  });
  expect(iommufd.iommuOptionGet(FD, c.IOMMU_OPTION_HUGE_PAGES, 7)).toBe(1n);
  iommufd.iommuOptionSet(FD, c.IOMMU_OPTION_HUGE_PAGES, 7, 0n);
  expect(iommufd.iommuOptionGet(FD, c.IOMMU_OPTION_HUGE_PAGES, 7)).toBe(0n);
  expect([...options.keys()]).toEqual(['1/7']);
});

test('the address space of containers is set, told and cleared', () => {
  let current = 0;
  answer('IOMMU_VFIO_IOAS', (bytes) => {
    const arg = s.iommu_vfio_ioas.view(bytes);
    if (arg.op !== c.IOMMU_VFIO_IOAS_GET) current = arg.ioas_id;
    else if (current === 0) return -constants.errno.ENODEV;
    arg.ioas_id = current;
    return 0;
  });
  iommufd.iommuVfioIoasSet(FD, 7);
  expect(iommufd.iommuVfioIoasGet(FD)).toBe(7);
  iommufd.iommuVfioIoasClear(FD);
  expect(() => iommufd.iommuVfioIoasGet(FD)).toThrow(expect.objectContaining({ code: 'ENODEV' }));
});

test('mappings of files can change process', () => {
  const sizes: number[] = [];
  answer('IOMMU_IOAS_CHANGE_PROCESS', (bytes) => sizes.push(bytes.length) && 0);
  iommufd.iommuIoasChangeProcess(FD);
  expect(sizes).toEqual([8]);
});

describe('what hardware tells about itself', () => {
  function hardware(data: Uint8Array) {
    answer('IOMMU_GET_HW_INFO', (bytes) => {
      const arg = s.iommu_hw_info.view(bytes);
      const chosen = arg.flags & c.IOMMU_HW_INFO_FLAG_INPUT_TYPE ? arg.out_data_type : 0;
      if (chosen > c.IOMMU_HW_INFO_TYPE_INTEL_VTD) return -EOPNOTSUPP;
      if (arg.data_len > 0) memoryAt(arg.data_uptr).set(data.subarray(0, arg.data_len));
      arg.data_len = data.length;
      arg.out_data_type = data.length > 0 ? c.IOMMU_HW_INFO_TYPE_INTEL_VTD : 0;
      arg.out_capabilities = BigInt(c.IOMMU_HW_CAP_DIRTY_TRACKING);
      arg.out_max_pasid_log2 = 20;
      return 0;
    });
  }

  test('comes whole, whatever its size', () => {
    const vtd = iommu_hw_info_vtd.create();
    vtd.cap_reg = 0x1234n;
    hardware(vtd.bytes);
    const info = iommufd.iommuHwInfo(FD, 1);
    expect(info).toMatchObject({
      type: c.IOMMU_HW_INFO_TYPE_INTEL_VTD,
      capabilities: 1n,
      maxPasidLog2: 20,
    });
    expect(info.data).toHaveLength(iommu_hw_info_vtd.size);
    expect(iommu_hw_info_vtd.view(info.data).cap_reg).toBe(0x1234n);
  });

  test('can be nothing, and is refused in a form that it does not have', () => {
    hardware(new Uint8Array(0));
    expect(iommufd.iommuHwInfo(FD, 1)).toMatchObject({ type: 0, data: new Uint8Array(0) });
    expect(() => iommufd.iommuHwInfo(FD, 1, c.IOMMU_HW_INFO_TYPE_AMD)).toThrow(
      expect.objectContaining({ code: 'EOPNOTSUPP' }),
    );
  });
});

describe('page tables', () => {
  test('are made for a device, with and without a queue for its faults', async () => {
    const made: unknown[] = [];
    answer('IOMMU_HWPT_ALLOC', (bytes) => {
      const arg = s.iommu_hwpt_alloc.view(bytes);
      made.push([arg.flags, arg.dev_id, arg.pt_id, arg.data_type, arg.fault_id]);
      arg.out_hwpt_id = 11;
      return 0;
    });
    expect(await hwpt.iommuHwptAlloc(FD, 1, 7)).toBe(11);
    await hwpt.iommuHwptAlloc(FD, 1, 7, c.IOMMU_HWPT_ALLOC_PASID, 12);
    expect(made).toEqual([
      [0, 1, 7, 0, 0],
      [c.IOMMU_HWPT_ALLOC_PASID | c.IOMMU_HWPT_FAULT_ID_VALID, 1, 7, 0, 12],
    ]);
  });

  test('tell which pages are dirty, and keep that if asked to', async () => {
    let tracking = 0;
    let dirty = 0b101;
    answer('IOMMU_HWPT_SET_DIRTY_TRACKING', (bytes) => {
      tracking = s.iommu_hwpt_set_dirty_tracking.view(bytes).flags;
      return 0;
    });
    answer('IOMMU_HWPT_GET_DIRTY_BITMAP', (bytes) => {
      const arg = s.iommu_hwpt_get_dirty_bitmap.view(bytes);
      expect(arg).toMatchObject({ hwpt_id: 11, iova: 0x5000n, length: 0x3000n, page_size: 4096n });
      if (!tracking) return -constants.errno.EINVAL;
      memoryAt(arg.data)[0] = dirty;
      if (!(arg.flags & c.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR)) dirty = 0;
      return 0;
    });
    const read = (flags?: number) =>
      hwpt.iommuHwptGetDirtyBitmap(FD, 11, 0x5000n, 0x3000n, 4096, flags);
    await expect(read()).rejects.toMatchObject({ code: 'EINVAL' });
    await hwpt.iommuHwptSetDirtyTracking(FD, 11, c.IOMMU_HWPT_DIRTY_TRACKING_ENABLE);
    const pages = new Uint8Array([5, 0, 0, 0, 0, 0, 0, 0]);
    expect(await read(c.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR)).toEqual(pages);
    expect(await read()).toEqual(pages);
    expect(await read()).toEqual(new Uint8Array(8));
  });

  test('report faults to a queue, whose descriptor is taken over', () => {
    answer('IOMMU_FAULT_QUEUE_ALLOC', (bytes) => {
      const arg = s.iommu_fault_alloc.view(bytes);
      arg.out_fault_id = 12;
      arg.out_fault_fd = 33;
      return 0;
    });
    expect(hwpt.iommuFaultQueueAlloc(FD)).toEqual({ id: 12, fd: 33 });
    expect(adopted).toContain(33);
  });
});
