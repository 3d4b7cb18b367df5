import { struct } from '../../src/ioctl/abi/layout';
import { requests } from '../../src/ioctl/abi/requests';
import * as structs from '../../src/ioctl/abi/structs';

test('fields are laid out by the C rules: natural alignment, padding between and behind', () => {
  const s = struct('s', { a: 'u8', b: 'u32', c: 'u16', d: 'u64', e: { bytes: 3 } });
  expect(Object.values(s.fields).map(({ offset }) => offset)).toEqual([0, 4, 8, 16, 24]);
  expect(s.size).toBe(32);
});

test('a view reads and writes little-endian at its offsets, and shares its bytes', () => {
  const s = struct('s', { argsz: 'u32', fd: 's32', iova: 'u64', uuid: { bytes: 4 } });
  const view = s.create();
  view.fd = -1;
  view.iova = 0x1122_3344_5566_7788n;
  view.uuid = Uint8Array.of(1, 2, 3, 4);
  expect(view.argsz).toBe(s.size);
  expect(view.fd).toBe(-1);
  expect(Buffer.from(view.bytes).toString('hex')).toBe(
    '18000000ffffffff88776655443322110102030400000000',
  );
  expect(s.view(view.bytes).iova).toBe(0x1122_3344_5566_7788n);
});

test('a field may be called data, as in vfio_bitmap', () => {
  const s = struct('s', { pgsize: 'u64', data: 'u64' });
  const view = s.create();
  view.data = 5n;
  expect(view.bytes[8]).toBe(5);
  expect(s.view(view.bytes).data).toBe(5n);
});

test('extra bytes count in argsz; too few bytes for a view are an error', () => {
  const s = struct('s', { argsz: 'u32', flags: 'u32' });
  expect(s.create(8).argsz).toBe(16);
  expect(() => s.view(new Uint8Array(7))).toThrow(RangeError);
});

test('sizes and numbers are those of linux/vfio.h on a 64-bit machine', () => {
  const size = Object.fromEntries(Object.values(structs).map(({ name, size }) => [name, size]));
  expect(size).toMatchObject({
    vfio_device_info: 24,
    vfio_region_info: 32,
    vfio_irq_info: 16,
    vfio_irq_set: 20,
    vfio_device_feature: 8,
    vfio_iommu_type1_info: 24,
    vfio_iommu_type1_dma_map: 32,
    vfio_iommu_type1_dma_unmap: 24,
  });
  expect(requests.VFIO_GET_API_VERSION).toBe(0x3b64);
  expect(requests.VFIO_DEVICE_FEATURE).toBe(0x3b75);
});
