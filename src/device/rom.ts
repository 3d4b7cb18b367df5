/** Expansion ROMs that the kernel has no region for. */
import { join } from 'node:path';
import { PCI_DEVICES, readAttribute } from '../pci/sysfs';

/** Index of the ROM in `resource` of sysfs: after the six BARs. */
const ROM = 6;

/** Why a device with a ROM has no such region: what VFIO finds no image in, it leaves out. Undefined if it has no ROM. */
export function romHint(bdf: string): string | undefined {
  const line = readAttribute(join(PCI_DEVICES, bdf, 'resource'))?.split('\n')[ROM];
  const [start, end] = (line ?? '').split(' ').map(Number);
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || !end || start! >= end) return;
  return (
    `it has a ROM of ${end - start! + 1} bytes, which is unreadable: the kernel found no image in it ` +
    '(no signature 0x55 0xaa), as where the firmware has not put one there'
  );
}
