import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Collect all garbage now, so that none of before is collected while something is measured. */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
