/**
 * What linux/vfio.h has for channel devices (CCW), cryptographic adapters (AP) and PCI on s390: data
 * only. This package does not run there.
 */
import { struct } from './layout';

export const VFIO_REGION_SUBTYPE_CCW_ASYNC_CMD = 1;
export const VFIO_REGION_SUBTYPE_CCW_SCHIB = 2;
export const VFIO_REGION_SUBTYPE_CCW_CRW = 3;

export const VFIO_CCW_CONFIG_REGION_INDEX = 0;
export const VFIO_CCW_NUM_REGIONS = 1;

export const VFIO_CCW_IO_IRQ_INDEX = 0;
export const VFIO_CCW_CRW_IRQ_INDEX = 1;
export const VFIO_CCW_REQ_IRQ_INDEX = 2;
export const VFIO_CCW_NUM_IRQS = 3;

export const VFIO_AP_REQ_IRQ_INDEX = 0;
export const VFIO_AP_CFG_CHG_IRQ_INDEX = 1;
export const VFIO_AP_NUM_IRQS = 2;

/** Of VFIO_DEVICE_FEATURE_ZPCI_ERROR; `data` is the address of a buffer. */
export const vfio_device_feature_zpci_err = struct('vfio_device_feature_zpci_err', {
  data: 'u64',
});
