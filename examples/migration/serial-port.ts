/** A 16550A UART behind VFIO, as far as a conversation needs it: mtty, the kernel's sample, echoes what it is told. */
import type { Device, Region } from 'vfio';

/** Registers in BAR 0 (PC16550D datasheet, section 8). */
const RBR_THR = 0;
const LCR = 3;
const LSR = 5;
const LCR_8_BITS = 3;
const LSR_DATA_READY = 1;
/** Bytes that its FIFO holds, less the one that tells full from empty in mtty. */
export const FIFO_ROOM = 15;

export class SerialPort {
  private readonly registers: Region;

  constructor(device: Device) {
    this.registers = device.region('bar0');
  }

  /** The line's settings are part of the state: who takes over a device does not set them again. */
  configure(): void {
    this.registers.write8(LCR, LCR_8_BITS);
  }

  /** At most FIFO_ROOM bytes that nobody has read. */
  write(text: string): void {
    for (const byte of Buffer.from(text, 'latin1')) this.registers.write8(RBR_THR, byte);
  }

  /** All that is there. */
  read(): string {
    const bytes: number[] = [];
    while (bytes.length <= FIFO_ROOM && this.registers.read8(LSR) & LSR_DATA_READY) {
      bytes.push(this.registers.read8(RBR_THR));
    }
    return Buffer.from(bytes).toString('latin1');
  }
}
