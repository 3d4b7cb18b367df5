/** What it costs to read the clock, which a time of one thing at a time has in it. */
import { median } from './statistics';

const READINGS = 1000;
const between = new Float64Array(READINGS);

/** us from one reading of performance.now() to the next; bench/c/vfio.h has the same in C. */
export function clockCost(): number {
  for (let i = 0; i < READINGS; i++) {
    const start = performance.now();
    between[i] = (performance.now() - start) * 1e3;
  }
  return median(between);
}
