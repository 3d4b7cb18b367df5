import { join } from 'node:path';

/** The package's root, from both `src/` (tests) and `dist/src/`. */
export function packageRoot(): string {
  const parent = join(__dirname, '..');
  return parent.endsWith('dist') ? join(parent, '..') : parent;
}
