/**
 * What linux/vfio.h has for SPAPR TCE, the IOMMU of POWER servers, and EEH, their error recovery:
 * data only. This package does not run there, and makes none of the requests.
 */
import { struct } from './layout';

export const VFIO_IOMMU_SPAPR_INFO_DDW = 1 << 0;

export const VFIO_EEH_PE_DISABLE = 0;
export const VFIO_EEH_PE_ENABLE = 1;
export const VFIO_EEH_PE_UNFREEZE_IO = 2;
export const VFIO_EEH_PE_UNFREEZE_DMA = 3;
export const VFIO_EEH_PE_GET_STATE = 4;
export const VFIO_EEH_PE_STATE_NORMAL = 0;
export const VFIO_EEH_PE_STATE_RESET = 1;
export const VFIO_EEH_PE_STATE_STOPPED = 2;
export const VFIO_EEH_PE_STATE_STOPPED_DMA = 4;
export const VFIO_EEH_PE_STATE_UNAVAIL = 5;
export const VFIO_EEH_PE_RESET_DEACTIVATE = 5;
export const VFIO_EEH_PE_RESET_HOT = 6;
export const VFIO_EEH_PE_RESET_FUNDAMENTAL = 7;
export const VFIO_EEH_PE_CONFIGURE = 8;
export const VFIO_EEH_PE_INJECT_ERR = 9;

export const vfio_iommu_spapr_tce_ddw_info = struct('vfio_iommu_spapr_tce_ddw_info', {
  pgsizes: 'u64',
  max_dynamic_windows_supported: 'u32',
  levels: 'u32',
});

export const vfio_iommu_spapr_tce_info = struct('vfio_iommu_spapr_tce_info', {
  argsz: 'u32',
  flags: 'u32',
  dma32_window_start: 'u32',
  dma32_window_size: 'u32',
  ddw: { bytes: vfio_iommu_spapr_tce_ddw_info.size, align: 8 },
});

export const vfio_eeh_pe_err = struct('vfio_eeh_pe_err', {
  type: 'u32',
  func: 'u32',
  addr: 'u64',
  mask: 'u64',
});

export const vfio_eeh_pe_op = struct('vfio_eeh_pe_op', {
  argsz: 'u32',
  flags: 'u32',
  op: 'u32',
  err: { bytes: vfio_eeh_pe_err.size, align: 8 },
});

export const vfio_iommu_spapr_register_memory = struct('vfio_iommu_spapr_register_memory', {
  argsz: 'u32',
  flags: 'u32',
  vaddr: 'u64',
  size: 'u64',
});

export const vfio_iommu_spapr_tce_create = struct('vfio_iommu_spapr_tce_create', {
  argsz: 'u32',
  flags: 'u32',
  page_shift: 'u32',
  __resv1: 'u32',
  window_size: 'u64',
  levels: 'u32',
  __resv2: 'u32',
  start_addr: 'u64',
});

export const vfio_iommu_spapr_tce_remove = struct('vfio_iommu_spapr_tce_remove', {
  argsz: 'u32',
  flags: 'u32',
  start_addr: 'u64',
});
