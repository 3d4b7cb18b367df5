/** Reset of the port (4.3.1), by whoever drives its PF. */
import { setTimeout as delay } from 'node:timers/promises';
import { DriverError } from './errors';
import { CTRL_RST, EECD_AUTO_RD, Pf, type PfRegister, type Registers } from './registers';

const RESET_MS = 10;
const ALL = 0xffff_ffff;

/** Mask all interrupts and reset the port; the EEPROM then gives the address back. */
export async function resetPort(registers: Registers<PfRegister>): Promise<void> {
  maskInterrupts(registers);
  registers.set(Pf.CTRL, CTRL_RST);
  // Not before 1 ms may registers be read; QEMU never tells that the EEPROM has been read.
  await delay(RESET_MS);
  for (let i = 0; i < 10 && (registers.read(Pf.EECD) & EECD_AUTO_RD) === 0; i++) await delay(1);
  if (registers.read(Pf.STATUS) === ALL) {
    throw new DriverError(
      'the device does not answer after its reset',
      'is it still there? lspci -v',
    );
  }
  maskInterrupts(registers);
  registers.read(Pf.ICR);
}

function maskInterrupts(registers: Registers<PfRegister>): void {
  registers.write(Pf.EIMC, ALL);
  registers.write(Pf.IMC, ALL);
}
