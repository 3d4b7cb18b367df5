// The package's types: what tsc writes for src/, as far as `vfio` and `vfio/lab` refer to it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from './ready.mjs';

/** As deep as dist/types: the maps lead from there to src/. */
const all = join(root, 'build/types');
const shipped = join(root, 'dist/types');

/** @throws if tsc finds errors; it has printed them */
export async function declarations() {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const options = { cwd: root, stdio: 'inherit' };
  const [status] = await once(
    spawn(process.execPath, [tsc, '-p', 'tsconfig.build.json'], options),
    'exit',
  );
  if (status !== 0) throw new Error('tsc found errors in src/');
  rmSync(shipped, { recursive: true, force: true });
  const copied = new Set();
  for (const entry of ['index', 'lab/index']) copy(entry, copied);
}

/** Copies a module's types, and those that they import. */
function copy(module, copied) {
  if (copied.has(module)) return;
  copied.add(module);
  mkdirSync(dirname(join(shipped, module)), { recursive: true });
  for (const suffix of ['.d.ts', '.d.ts.map']) {
    cpSync(join(all, `${module}${suffix}`), join(shipped, `${module}${suffix}`));
  }
  const text = readFileSync(join(all, `${module}.d.ts`), 'utf8');
  for (const [, path] of text.matchAll(/\b(?:from |import\()["'](\.[^"']*)["']/g)) {
    copy(join(dirname(module), path), copied);
  }
}
