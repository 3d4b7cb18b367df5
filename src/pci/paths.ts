/** Where the kernel shows itself. Tests put fixture trees in their place. */
export const SYS = '/sys';
export const PROC = '/proc';
export const DEV_VFIO = '/dev/vfio';
export const DEV = '/dev';
export const BOOT = '/boot';
export const MODULES = '/lib/modules';
/** Where the bindings to give back are kept: like bindings, gone after a reboot. */
export const STATE = '/run/vfio';
export const UDEV_RULES = '/etc/udev/rules.d';
/** Names of vendors, devices and classes; distributions keep them in one of these places. */
export const PCI_IDS = [
  '/usr/share/hwdata/pci.ids',
  '/usr/share/misc/pci.ids',
  '/var/lib/pciutils/pci.ids',
];
