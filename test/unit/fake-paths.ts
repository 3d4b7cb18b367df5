/** Stands in for src/pci/paths.ts: an empty sysfs of this test file's own. */
import { makeSysfs } from './fake-sysfs';

export const SYS = makeSysfs().root;
export const PROC = '/proc';
export const DEV_VFIO = '/dev/vfio';
export const DEV = '/dev';
export const BOOT = '/boot';
export const MODULES = '/lib/modules';
export const STATE = `${SYS}/run/vfio`;
export const UDEV_RULES = `${SYS}/etc/udev/rules.d`;
export const PCI_IDS: readonly string[] = [];
