/** Receive side scaling (7.1.2.8): frames of one flow go to one queue, flows to all queues. */
import {
  MRQC_RSS,
  MRQC_RSS_IPV4,
  MRQC_RSS_IPV6,
  Pf,
  type PfRegister,
  type Registers,
  RXCSUM_PCSD,
} from './registers';

const RETA_ENTRIES = 128;
const KEY_WORDS = 10;

/**
 * Spread IP frames over queues 0 to `queues - 1` by their addresses, all others to queue 0. The key
 * repeats every 16 bits, so that both directions of a conversation have one hash, and one queue.
 */
export function spreadFlows(registers: Registers<PfRegister>, queues: number): void {
  for (let i = 0; i < KEY_WORDS; i++) registers.write(Pf.RSSRK(i), 0x5a6d_5a6d);
  for (let i = 0; i < RETA_ENTRIES; i += 4) {
    let word = 0;
    for (let byte = 0; byte < 4; byte++) word |= ((i + byte) % queues) << (8 * byte);
    registers.write(Pf.RETA(i / 4), word);
  }
  registers.set(Pf.RXCSUM, RXCSUM_PCSD);
  registers.write(Pf.MRQC, MRQC_RSS | MRQC_RSS_IPV4 | MRQC_RSS_IPV6);
}
