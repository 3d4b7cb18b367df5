import { constants } from 'node:os';
import * as c from '../../src/ioctl/abi/iommufd-constants';
import * as s from '../../src/ioctl/abi/iommufd-structs';
import * as nested from '../../src/ioctl/iommufd-nested';
import { adopted, answer, FD, memoryAt, rangesLent } from './fake-requests';

jest.mock('../../src/native', () => require('./fake-requests'));

afterEach(() => {
  expect(rangesLent()).toBe(0);
});

test('a nested page table goes with its data, and with a queue for its faults', () => {
  const made: unknown[] = [];
  answer('IOMMU_HWPT_ALLOC', (bytes) => {
    const arg = s.iommu_hwpt_alloc.view(bytes);
    const data = [...memoryAt(arg.data_uptr).subarray(0, arg.data_len)];
    made.push([arg.flags, arg.dev_id, arg.pt_id, arg.data_type, data, arg.fault_id]);
    arg.out_hwpt_id = 11;
    return 0;
  });
  const data = { type: c.IOMMU_HWPT_DATA_ARM_SMMUV3, bytes: Uint8Array.of(1, 2, 3) };
  expect(nested.iommuHwptAllocNested(FD, 1, 7, data)).toBe(11);
  nested.iommuHwptAllocNested(FD, 1, 7, data, 12);
  expect(made).toEqual([
    [0, 1, 7, 2, [1, 2, 3], 0],
    [c.IOMMU_HWPT_FAULT_ID_VALID, 1, 7, 2, [1, 2, 3], 12],
  ]);
});

test('an invalidation that fails tells after how many entries', () => {
  answer('IOMMU_HWPT_INVALIDATE', (bytes) => {
    const arg = s.iommu_hwpt_invalidate.view(bytes);
    expect(arg).toMatchObject({ hwpt_id: 11, entry_len: 4, data_type: 1 });
    const entries = memoryAt(arg.data_uptr).subarray(0, arg.entry_len * arg.entry_num);
    const bad = entries.indexOf(0xff);
    if (bad < 0) return 0;
    arg.entry_num = Math.floor(bad / arg.entry_len);
    return -constants.errno.EINVAL;
  });
  const invalidate = (...bytes: number[]) =>
    nested.iommuHwptInvalidate(FD, 11, { type: 1, bytes: Uint8Array.from(bytes) }, 4);
  invalidate(1, 2, 3, 4);
  expect(() => invalidate(1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0, 0, 0)).toThrow(
    expect.objectContaining({
      code: 'EINVAL',
      ioctl: 'IOMMU_HWPT_INVALIDATE',
      message: expect.stringContaining('after 2 of 3 entries'),
    }),
  );
});

test('a virtual IOMMU gives back its data; without any, the kernel sees none', () => {
  const pointers: bigint[] = [];
  answer('IOMMU_VIOMMU_ALLOC', (bytes) => {
    const arg = s.iommu_viommu_alloc.view(bytes);
    expect(arg).toMatchObject({ type: 2, dev_id: 1, hwpt_id: 7 });
    pointers.push(arg.data_uptr);
    if (arg.data_len > 0) memoryAt(arg.data_uptr)[1] = memoryAt(arg.data_uptr)[0]!;
    arg.out_viommu_id = 13;
    return 0;
  });
  const alloc = (...bytes: number[]) =>
    nested.iommuViommuAlloc(FD, 1, 7, { type: 2, bytes: Uint8Array.from(bytes) });
  expect(alloc(9, 0)).toEqual({ id: 13, data: Uint8Array.of(9, 9) });
  expect(alloc().id).toBe(13);
  expect([pointers[0] === 0n, pointers[1]]).toEqual([false, 0n]);
});

test('its devices, events and queues', () => {
  answer('IOMMU_VDEVICE_ALLOC', (bytes) => {
    const arg = s.iommu_vdevice_alloc.view(bytes);
    expect(arg).toMatchObject({ viommu_id: 13, dev_id: 1, virt_id: 1n << 40n });
    arg.out_vdevice_id = 14;
    return 0;
  });
  answer('IOMMU_VEVENTQ_ALLOC', (bytes) => {
    const arg = s.iommu_veventq_alloc.view(bytes);
    expect(arg).toMatchObject({ viommu_id: 13, type: 1, veventq_depth: 8 });
    arg.out_veventq_id = 15;
    arg.out_veventq_fd = 44;
    return 0;
  });
  answer('IOMMU_HW_QUEUE_ALLOC', (bytes) => {
    const arg = s.iommu_hw_queue_alloc.view(bytes);
    expect(arg).toMatchObject({
      ...{ viommu_id: 13, type: 1, index: 3 },
      ...{ nesting_parent_iova: 0x5000n, length: 0x2000n },
    });
    arg.out_hw_queue_id = 16;
    return 0;
  });
  expect(nested.iommuVdeviceAlloc(FD, 13, 1, 1n << 40n)).toBe(14);
  expect(nested.iommuVeventqAlloc(FD, 13, 1, 8)).toEqual({ id: 15, fd: 44 });
  expect(adopted).toContain(44);
  const queue = { type: 1, index: 3, iova: 0x5000n, length: 0x2000n };
  expect(nested.iommuHwQueueAlloc(FD, 13, queue)).toBe(16);
});
