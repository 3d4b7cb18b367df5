/** Where the kernel shows itself. Tests put fixture trees in their place. */
export const SYS = '/sys';
export const PROC = '/proc';
export const DEV_VFIO = '/dev/vfio';
