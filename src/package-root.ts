import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The package's root, wherever below it this runs: the closest directory with a package.json. */
export function packageRoot(): string {
  let directory = __dirname;
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error(`vfio: no package.json above ${__dirname}`);
    directory = parent;
  }
  return directory;
}
