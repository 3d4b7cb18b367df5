/** Structs of linux/vfio.h, field by field under their C names. */
import { struct } from './layout';

export const vfio_info_cap_header = struct('vfio_info_cap_header', {
  id: 'u16',
  version: 'u16',
  next: 'u32',
});

export const vfio_group_status = struct('vfio_group_status', { argsz: 'u32', flags: 'u32' });

export const vfio_device_info = struct('vfio_device_info', {
  argsz: 'u32',
  flags: 'u32',
  num_regions: 'u32',
  num_irqs: 'u32',
  cap_offset: 'u32',
  pad: 'u32',
});

export const vfio_device_info_cap_pci_atomic_comp = struct('vfio_device_info_cap_pci_atomic_comp', {
  header: { bytes: 8 },
  flags: 'u32',
  reserved: 'u32',
});

export const vfio_region_info = struct('vfio_region_info', {
  argsz: 'u32',
  flags: 'u32',
  index: 'u32',
  cap_offset: 'u32',
  size: 'u64',
  offset: 'u64',
});

export const vfio_region_info_cap_sparse_mmap = struct('vfio_region_info_cap_sparse_mmap', {
  header: { bytes: 8 },
  nr_areas: 'u32',
  reserved: 'u32',
  areas: { flexible: 8 },
});

export const vfio_region_sparse_mmap_area = struct('vfio_region_sparse_mmap_area', {
  offset: 'u64',
  size: 'u64',
});

export const vfio_region_info_cap_type = struct('vfio_region_info_cap_type', {
  header: { bytes: 8 },
  type: 'u32',
  subtype: 'u32',
});

/** Deprecated: no kernel since 5.13 reports it. */
export const vfio_region_info_cap_nvlink2_ssatgt = struct('vfio_region_info_cap_nvlink2_ssatgt', {
  header: { bytes: 8 },
  tgt: 'u64',
});

/** Deprecated: no kernel since 5.13 reports it. */
export const vfio_region_info_cap_nvlink2_lnkspd = struct('vfio_region_info_cap_nvlink2_lnkspd', {
  header: { bytes: 8 },
  link_speed: 'u32',
  __pad: 'u32',
});

export const vfio_irq_info = struct('vfio_irq_info', {
  argsz: 'u32',
  flags: 'u32',
  index: 'u32',
  count: 'u32',
});

/** `data`: nothing, one byte, or one int32 per interrupt. */
export const vfio_irq_set = struct('vfio_irq_set', {
  argsz: 'u32',
  flags: 'u32',
  index: 'u32',
  start: 'u32',
  count: 'u32',
  data: { flexible: 1 },
});

/** `data` is the struct of the feature. */
export const vfio_device_feature = struct('vfio_device_feature', {
  argsz: 'u32',
  flags: 'u32',
  data: { flexible: 1 },
});

export const vfio_device_feature_dma_logging_control = struct(
  'vfio_device_feature_dma_logging_control',
  { page_size: 'u64', num_ranges: 'u32', __reserved: 'u32', ranges: 'u64' },
);

export const vfio_device_feature_dma_logging_range = struct(
  'vfio_device_feature_dma_logging_range',
  { iova: 'u64', length: 'u64' },
);

export const vfio_device_feature_dma_logging_report = struct(
  'vfio_device_feature_dma_logging_report',
  { iova: 'u64', length: 'u64', page_size: 'u64', bitmap: 'u64' },
);

/** `dma_ranges` are `nr_ranges` of `vfio_region_dma_range`. */
export const vfio_device_feature_dma_buf = struct('vfio_device_feature_dma_buf', {
  region_index: 'u32',
  open_flags: 'u32',
  flags: 'u32',
  nr_ranges: 'u32',
  dma_ranges: { flexible: 8 },
});

export const vfio_region_dma_range = struct('vfio_region_dma_range', {
  offset: 'u64',
  length: 'u64',
});

/** `op` is VFIO_DEVICE_FEATURE_CLEAR_MASTER or VFIO_DEVICE_FEATURE_SET_MASTER. */
export const vfio_device_feature_bus_master = struct('vfio_device_feature_bus_master', {
  op: 'u32',
});

export const vfio_device_bind_iommufd = struct('vfio_device_bind_iommufd', {
  argsz: 'u32',
  flags: 'u32',
  iommufd: 's32',
  out_devid: 'u32',
  token_uuid_ptr: 'u64',
});

export const vfio_device_attach_iommufd_pt = struct('vfio_device_attach_iommufd_pt', {
  argsz: 'u32',
  flags: 'u32',
  pt_id: 'u32',
  pasid: 'u32',
});

export const vfio_device_detach_iommufd_pt = struct('vfio_device_detach_iommufd_pt', {
  argsz: 'u32',
  flags: 'u32',
  pasid: 'u32',
});

export const vfio_iommu_type1_info = struct('vfio_iommu_type1_info', {
  argsz: 'u32',
  flags: 'u32',
  iova_pgsizes: 'u64',
  cap_offset: 'u32',
  pad: 'u32',
});

export const vfio_iommu_type1_info_cap_iova_range = struct('vfio_iommu_type1_info_cap_iova_range', {
  header: { bytes: 8 },
  nr_iovas: 'u32',
  reserved: 'u32',
  iova_ranges: { flexible: 8 },
});

export const vfio_iova_range = struct('vfio_iova_range', { start: 'u64', end: 'u64' });

export const vfio_iommu_type1_info_cap_migration = struct('vfio_iommu_type1_info_cap_migration', {
  header: { bytes: 8 },
  flags: 'u32',
  pgsize_bitmap: 'u64',
  max_dirty_bitmap_size: 'u64',
});

export const vfio_iommu_type1_info_dma_avail = struct('vfio_iommu_type1_info_dma_avail', {
  header: { bytes: 8 },
  avail: 'u32',
});

export const vfio_iommu_type1_dma_map = struct('vfio_iommu_type1_dma_map', {
  argsz: 'u32',
  flags: 'u32',
  vaddr: 'u64',
  iova: 'u64',
  size: 'u64',
});

/** With VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, `data` is a `vfio_bitmap`. */
export const vfio_iommu_type1_dma_unmap = struct('vfio_iommu_type1_dma_unmap', {
  argsz: 'u32',
  flags: 'u32',
  iova: 'u64',
  size: 'u64',
  data: { flexible: 1 },
});

export const vfio_bitmap = struct('vfio_bitmap', { pgsize: 'u64', size: 'u64', data: 'u64' });

/** With VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, `data` is a `vfio_iommu_type1_dirty_bitmap_get`. */
export const vfio_iommu_type1_dirty_bitmap = struct('vfio_iommu_type1_dirty_bitmap', {
  argsz: 'u32',
  flags: 'u32',
  data: { flexible: 1 },
});

/** `bitmap` is a `vfio_bitmap`. */
export const vfio_iommu_type1_dirty_bitmap_get = struct('vfio_iommu_type1_dirty_bitmap_get', {
  iova: 'u64',
  size: 'u64',
  bitmap: { bytes: vfio_bitmap.size },
});
