/** Flags and ids of the reset of a PCI slot or bus in linux/vfio.h under their C names. */

export const VFIO_PCI_DEVID_OWNED = 0;
/** -1 in C; what the field, a `__u32`, reads as. */
export const VFIO_PCI_DEVID_NOT_OWNED = 0xffff_ffff;

export const VFIO_PCI_HOT_RESET_FLAG_DEV_ID = 1 << 0;
export const VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED = 1 << 1;
