/** Stands in for src/pci/paths.ts: an empty sysfs of this test file's own. */
import { makeSysfs } from './fake-sysfs';

export const SYS = makeSysfs().root;
export const PROC = '/proc';
export const DEV_VFIO = '/dev/vfio';
