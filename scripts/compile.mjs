// What `npm run build` makes of TypeScript: dist/, which is the package, and the programs in build/.
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundleAllPrograms, bundlePackage } from './bundle.mjs';
import { declarations } from './declarations.mjs';
import { compiled, root } from './ready.mjs';

const start = new Date();
try {
  await Promise.all([declarations(), bundlePackage(), bundleAllPrograms()]);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
const stamp = join(root, compiled);
mkdirSync(join(root, 'build'), { recursive: true });
writeFileSync(stamp, '');
// Whatever is changed meanwhile is newer.
utimesSync(stamp, start, start);
