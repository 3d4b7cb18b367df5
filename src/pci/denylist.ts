/** Devices that vfio-pci refuses unless it is loaded with disable_denylist=1: their errata break isolation. */
import { join } from 'node:path';
import { SYS } from './paths';
import { type PciDevice, readAttribute } from './sysfs';

export const DISABLE_DENYLIST = join(SYS, 'module/vfio_pci/parameters/disable_denylist');

const INTEL = 0x8086;

/** vfio_pci_dev_in_denylist of drivers/vfio/pci/vfio_pci.c: QAT of the first generations, DSA and IAA. */
const DENIED = [0x0435, 0x0443, 0x19e2, 0x19e3, 0x37c8, 0x37c9, 0x0b25, 0x0cfe];

/** False also where the kernel is too old for the list, or vfio-pci is not loaded. */
export function isDenied({ vendor, device }: Pick<PciDevice, 'vendor' | 'device'>): boolean {
  return vendor === INTEL && DENIED.includes(device) && readAttribute(DISABLE_DENYLIST) === 'N';
}
