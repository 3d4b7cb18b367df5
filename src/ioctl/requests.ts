/** Request numbers of linux/vfio.h, `_IO(';', 100 + n)`, and linux/iommufd.h, `_IO(';', 0x80 + n)`. */
const TYPE = ';'.charCodeAt(0) << 8;
const io = (n: number) => TYPE | (100 + n);
const iommufd = (n: number) => TYPE | (0x80 + n);

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
  VFIO_IOMMU_DIRTY_PAGES: io(17),
  VFIO_DEVICE_FEATURE: io(17),
  VFIO_DEVICE_BIND_IOMMUFD: io(18),
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: io(19),
  VFIO_DEVICE_DETACH_IOMMUFD_PT: io(20),

  IOMMU_DESTROY: iommufd(0x00),
  IOMMU_IOAS_ALLOC: iommufd(0x01),
  IOMMU_IOAS_ALLOW_IOVAS: iommufd(0x02),
  IOMMU_IOAS_COPY: iommufd(0x03),
  IOMMU_IOAS_IOVA_RANGES: iommufd(0x04),
  IOMMU_IOAS_MAP: iommufd(0x05),
  IOMMU_IOAS_UNMAP: iommufd(0x06),
  IOMMU_OPTION: iommufd(0x07),
  IOMMU_VFIO_IOAS: iommufd(0x08),
  IOMMU_HWPT_ALLOC: iommufd(0x09),
  IOMMU_GET_HW_INFO: iommufd(0x0a),
  IOMMU_HWPT_SET_DIRTY_TRACKING: iommufd(0x0b),
  IOMMU_HWPT_GET_DIRTY_BITMAP: iommufd(0x0c),
  IOMMU_HWPT_INVALIDATE: iommufd(0x0d),
  IOMMU_FAULT_QUEUE_ALLOC: iommufd(0x0e),
  IOMMU_IOAS_MAP_FILE: iommufd(0x0f),
  IOMMU_VIOMMU_ALLOC: iommufd(0x10),
  IOMMU_VDEVICE_ALLOC: iommufd(0x11),
  IOMMU_IOAS_CHANGE_PROCESS: iommufd(0x12),
  IOMMU_VEVENTQ_ALLOC: iommufd(0x13),
  IOMMU_HW_QUEUE_ALLOC: iommufd(0x14),
  IOMMU_IOAS_NOIOMMU_GET_PA: iommufd(0x15),
} as const;

export type RequestName = keyof typeof requests;
