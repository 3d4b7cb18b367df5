/** Structs of linux/vfio.h about the reset of a whole PCI slot or bus, field by field under their C names. */
import { struct } from './layout';

/** `devid` (also VFIO_PCI_DEVID_*) instead of `group_id` with VFIO_PCI_HOT_RESET_FLAG_DEV_ID. */
export const vfio_pci_dependent_device = struct('vfio_pci_dependent_device', {
  group_id: 'u32',
  devid: { aliasOf: 'group_id' },
  segment: 'u16',
  bus: 'u8',
  devfn: 'u8',
});

/** `devices` are `count` of `vfio_pci_dependent_device`. */
export const vfio_pci_hot_reset_info = struct('vfio_pci_hot_reset_info', {
  argsz: 'u32',
  flags: 'u32',
  count: 'u32',
  devices: { flexible: 4 },
});

/** `group_fds` are `count` int32; none for a device of an iommufd. */
export const vfio_pci_hot_reset = struct('vfio_pci_hot_reset', {
  argsz: 'u32',
  flags: 'u32',
  count: 'u32',
  group_fds: { flexible: 4 },
});
