/** Request numbers of linux/vfio.h: `_IO(';', 100 + n)`. */
const VFIO_TYPE = ';'.charCodeAt(0) << 8;
const io = (n: number) => VFIO_TYPE | (100 + n);

export const requests = {
  VFIO_GET_API_VERSION: io(0),
  VFIO_CHECK_EXTENSION: io(1),
  VFIO_SET_IOMMU: io(2),
  VFIO_GROUP_GET_STATUS: io(3),
  VFIO_GROUP_SET_CONTAINER: io(4),
  VFIO_GROUP_UNSET_CONTAINER: io(5),
  VFIO_GROUP_GET_DEVICE_FD: io(6),
  VFIO_DEVICE_GET_INFO: io(7),
  VFIO_DEVICE_GET_REGION_INFO: io(8),
  VFIO_DEVICE_GET_IRQ_INFO: io(9),
  VFIO_DEVICE_SET_IRQS: io(10),
  VFIO_DEVICE_RESET: io(11),
  VFIO_IOMMU_GET_INFO: io(12),
  VFIO_IOMMU_MAP_DMA: io(13),
  VFIO_IOMMU_UNMAP_DMA: io(14),
  VFIO_DEVICE_FEATURE: io(17),
} as const;

export type RequestName = keyof typeof requests;
