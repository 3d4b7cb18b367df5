/** The copper PHY behind MDIC (8.2): just enough to bring the link up. */
import { setTimeout as delay } from 'node:timers/promises';
import { DriverError } from './errors';
import { Pf, type PfRegister, type Registers } from './registers';

const MDIC_REGADD_SHIFT = 16;
const MDIC_INTERNAL_PHY = 1 << 21;
const MDIC_OP_WRITE = 1 << 26;
const MDIC_READY = 1 << 28;
const MDIC_ERROR = 1 << 30;

/** IEEE 802.3 clause 22 register 0. */
const BMCR = 0;
const BMCR_AUTONEGOTIATION = 0x1000;
const BMCR_RESTART = 0x0200;
const BMCR_FULL_DUPLEX = 0x0100;
const BMCR_SPEED_1000 = 0x0040;

/** Start autonegotiation; the link comes up, and an interrupt tells so, about half a second later. */
export async function restartAutonegotiation(registers: Registers<PfRegister>): Promise<void> {
  const value = BMCR_AUTONEGOTIATION | BMCR_RESTART | BMCR_FULL_DUPLEX | BMCR_SPEED_1000;
  await writePhy(registers, BMCR, value);
}

async function writePhy(
  registers: Registers<PfRegister>,
  register: number,
  value: number,
): Promise<void> {
  const command = MDIC_OP_WRITE | MDIC_INTERNAL_PHY | (register << MDIC_REGADD_SHIFT) | value;
  registers.write(Pf.MDIC, command);
  for (let attempt = 0; attempt < 100; attempt++) {
    const answer = registers.read(Pf.MDIC);
    if (answer & MDIC_ERROR) throw new DriverError(`PHY: write of register ${register} failed`);
    if (answer & MDIC_READY) return;
    await delay(1);
  }
  throw new DriverError('PHY: MDIC did not become ready', 'reset the device and try again');
}
