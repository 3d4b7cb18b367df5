/** Structs of linux/iommufd.h that belong to one vendor's IOMMU, field by field under their C names. */
import { struct } from './layout';

export const iommu_hw_info_vtd = struct('iommu_hw_info_vtd', {
  flags: 'u32',
  __reserved: 'u32',
  cap_reg: 'u64',
  ecap_reg: 'u64',
});

export const iommu_hw_info_arm_smmuv3 = struct('iommu_hw_info_arm_smmuv3', {
  flags: 'u32',
  __reserved: 'u32',
  idr: { bytes: 24 },
  iidr: 'u32',
  aidr: 'u32',
});

export const iommu_hw_info_tegra241_cmdqv = struct('iommu_hw_info_tegra241_cmdqv', {
  flags: 'u32',
  version: 'u8',
  log2vcmdqs: 'u8',
  log2vsids: 'u8',
  __reserved: 'u8',
});

export const iommu_hw_info_amd = struct('iommu_hw_info_amd', { efr: 'u64', efr2: 'u64' });

export const iommu_hwpt_vtd_s1 = struct('iommu_hwpt_vtd_s1', {
  flags: 'u64',
  pgtbl_addr: 'u64',
  addr_width: 'u32',
  __reserved: 'u32',
});

export const iommu_hwpt_arm_smmuv3 = struct('iommu_hwpt_arm_smmuv3', { ste: { bytes: 16 } });

export const iommu_hwpt_amd_guest = struct('iommu_hwpt_amd_guest', { dte: { bytes: 32 } });

export const iommu_hwpt_vtd_s1_invalidate = struct('iommu_hwpt_vtd_s1_invalidate', {
  addr: 'u64',
  npages: 'u64',
  flags: 'u32',
  __reserved: 'u32',
});

export const iommu_viommu_arm_smmuv3_invalidate = struct('iommu_viommu_arm_smmuv3_invalidate', {
  cmd: { bytes: 16 },
});

export const iommu_viommu_tegra241_cmdqv = struct('iommu_viommu_tegra241_cmdqv', {
  out_vintf_mmap_offset: 'u64',
  out_vintf_mmap_length: 'u64',
});

export const iommu_vevent_arm_smmuv3 = struct('iommu_vevent_arm_smmuv3', { evt: { bytes: 32 } });

export const iommu_vevent_tegra241_cmdqv = struct('iommu_vevent_tegra241_cmdqv', {
  lvcmdq_err_map: { bytes: 16 },
});
