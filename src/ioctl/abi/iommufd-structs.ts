/** Structs of linux/iommufd.h, field by field under their C names; those of one vendor's IOMMU are elsewhere. */
import { struct } from './layout';

export const iommu_destroy = struct('iommu_destroy', { size: 'u32', id: 'u32' });

export const iommu_ioas_alloc = struct('iommu_ioas_alloc', {
  size: 'u32',
  flags: 'u32',
  out_ioas_id: 'u32',
});

export const iommu_iova_range = struct('iommu_iova_range', { start: 'u64', last: 'u64' });

export const iommu_ioas_iova_ranges = struct('iommu_ioas_iova_ranges', {
  size: 'u32',
  ioas_id: 'u32',
  num_iovas: 'u32',
  __reserved: 'u32',
  allowed_iovas: 'u64',
  out_iova_alignment: 'u64',
});

export const iommu_ioas_allow_iovas = struct('iommu_ioas_allow_iovas', {
  size: 'u32',
  ioas_id: 'u32',
  num_iovas: 'u32',
  __reserved: 'u32',
  allowed_iovas: 'u64',
});

export const iommu_ioas_map = struct('iommu_ioas_map', {
  size: 'u32',
  flags: 'u32',
  ioas_id: 'u32',
  __reserved: 'u32',
  user_va: 'u64',
  length: 'u64',
  iova: 'u64',
});

export const iommu_ioas_noiommu_get_pa = struct('iommu_ioas_noiommu_get_pa', {
  size: 'u32',
  flags: 'u32',
  ioas_id: 'u32',
  __reserved: 'u32',
  iova: 'u64',
  length: 'u64',
  out_phys: 'u64',
});

export const iommu_ioas_map_file = struct('iommu_ioas_map_file', {
  size: 'u32',
  flags: 'u32',
  ioas_id: 'u32',
  fd: 's32',
  start: 'u64',
  length: 'u64',
  iova: 'u64',
});

export const iommu_ioas_copy = struct('iommu_ioas_copy', {
  size: 'u32',
  flags: 'u32',
  dst_ioas_id: 'u32',
  src_ioas_id: 'u32',
  length: 'u64',
  dst_iova: 'u64',
  src_iova: 'u64',
});

export const iommu_ioas_unmap = struct('iommu_ioas_unmap', {
  size: 'u32',
  ioas_id: 'u32',
  iova: 'u64',
  length: 'u64',
});

export const iommu_option = struct('iommu_option', {
  size: 'u32',
  option_id: 'u32',
  op: 'u16',
  __reserved: 'u16',
  object_id: 'u32',
  val64: 'u64',
});

export const iommu_vfio_ioas = struct('iommu_vfio_ioas', {
  size: 'u32',
  ioas_id: 'u32',
  op: 'u16',
  __reserved: 'u16',
});

export const iommu_hwpt_alloc = struct('iommu_hwpt_alloc', {
  size: 'u32',
  flags: 'u32',
  dev_id: 'u32',
  pt_id: 'u32',
  out_hwpt_id: 'u32',
  __reserved: 'u32',
  data_type: 'u32',
  data_len: 'u32',
  data_uptr: 'u64',
  fault_id: 'u32',
  __reserved2: 'u32',
});

export const iommu_hw_info = struct('iommu_hw_info', {
  size: 'u32',
  flags: 'u32',
  dev_id: 'u32',
  data_len: 'u32',
  data_uptr: 'u64',
  out_data_type: 'u32',
  in_data_type: { aliasOf: 'out_data_type' },
  out_max_pasid_log2: 'u8',
  __reserved: { bytes: 3 },
  out_capabilities: 'u64',
});

export const iommu_hwpt_set_dirty_tracking = struct('iommu_hwpt_set_dirty_tracking', {
  size: 'u32',
  flags: 'u32',
  hwpt_id: 'u32',
  __reserved: 'u32',
});

export const iommu_hwpt_get_dirty_bitmap = struct('iommu_hwpt_get_dirty_bitmap', {
  size: 'u32',
  hwpt_id: 'u32',
  flags: 'u32',
  __reserved: 'u32',
  iova: 'u64',
  length: 'u64',
  page_size: 'u64',
  data: 'u64',
});

export const iommu_hwpt_invalidate = struct('iommu_hwpt_invalidate', {
  size: 'u32',
  hwpt_id: 'u32',
  data_uptr: 'u64',
  data_type: 'u32',
  entry_len: 'u32',
  entry_num: 'u32',
  __reserved: 'u32',
});

export const iommu_fault_alloc = struct('iommu_fault_alloc', {
  size: 'u32',
  flags: 'u32',
  out_fault_id: 'u32',
  out_fault_fd: 'u32',
});

/** What read(2) of a fault queue's descriptor gives. */
export const iommu_hwpt_pgfault = struct('iommu_hwpt_pgfault', {
  flags: 'u32',
  dev_id: 'u32',
  pasid: 'u32',
  grpid: 'u32',
  perm: 'u32',
  __reserved: 'u32',
  addr: 'u64',
  length: 'u32',
  cookie: 'u32',
});

/** What write(2) to a fault queue's descriptor takes. */
export const iommu_hwpt_page_response = struct('iommu_hwpt_page_response', {
  cookie: 'u32',
  code: 'u32',
});

export const iommu_viommu_alloc = struct('iommu_viommu_alloc', {
  size: 'u32',
  flags: 'u32',
  type: 'u32',
  dev_id: 'u32',
  hwpt_id: 'u32',
  out_viommu_id: 'u32',
  data_len: 'u32',
  __reserved: 'u32',
  data_uptr: 'u64',
});

export const iommu_vdevice_alloc = struct('iommu_vdevice_alloc', {
  size: 'u32',
  viommu_id: 'u32',
  dev_id: 'u32',
  out_vdevice_id: 'u32',
  virt_id: 'u64',
});

export const iommu_ioas_change_process = struct('iommu_ioas_change_process', {
  size: 'u32',
  __reserved: 'u32',
});

/** Precedes each event that read(2) of a virtual event queue's descriptor gives. */
export const iommufd_vevent_header = struct('iommufd_vevent_header', {
  flags: 'u32',
  sequence: 'u32',
});

export const iommu_veventq_alloc = struct('iommu_veventq_alloc', {
  size: 'u32',
  flags: 'u32',
  viommu_id: 'u32',
  type: 'u32',
  veventq_depth: 'u32',
  out_veventq_id: 'u32',
  out_veventq_fd: 'u32',
  __reserved: 'u32',
});

export const iommu_hw_queue_alloc = struct('iommu_hw_queue_alloc', {
  size: 'u32',
  flags: 'u32',
  viommu_id: 'u32',
  type: 'u32',
  index: 'u32',
  out_hw_queue_id: 'u32',
  nesting_parent_iova: 'u64',
  length: 'u64',
});
