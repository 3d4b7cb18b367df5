/** Whether a PCI device may do DMA and send MSIs: a bit of its command register. */
import { check, isErrno } from '../errors';
import type { RegionInfo } from '../ioctl/device';
import { native } from '../native';
import type { Region } from './region';

/** PCI_COMMAND and its bus master bit (PCI 3.0, 6.2.2). */
const PCI_COMMAND = 0x04;
const PCI_COMMAND_MASTER = 1 << 2;

export function setBusMaster(config: Region, op: 'set' | 'clear'): void {
  const others = config.read16(PCI_COMMAND) & ~PCI_COMMAND_MASTER;
  config.write16(PCI_COMMAND, op === 'set' ? others | PCI_COMMAND_MASTER : others);
}

/** The kernel does it, too, as the descriptor goes; here, DMA ends before the buffers do. */
export function endDma(config: Region | undefined): void {
  try {
    if (config && !config.closed) setBusMaster(config, 'clear');
  } catch (error) {
    // Unplugged.
    if (!isErrno(error, 'EIO') && !isErrno(error, 'ENODEV')) throw error;
  }
}

/** Have it cleared when this thread ends without a close: for native.farewellCancel. */
export function endDmaWithThread(bdf: string, fd: number, { offset }: RegionInfo): number {
  const farewell = native.farewellClearBits(fd, offset + PCI_COMMAND, PCI_COMMAND_MASTER);
  return check(farewell, `${bdf}: the end of its DMA`, { device: bdf });
}
