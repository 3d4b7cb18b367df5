// Which test files run in which VM, and the one file that a VM loads instead of them.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../ready.mjs';

const KERNELS = {
  stock: ['stock', 'each'],
  lab: ['lab', 'each'],
};

/**
 * The files of test/vm for a kernel. The first comment of each says where it runs: `@kernel stock`
 * (what it tests is the same on every kernel, so once is enough), `@kernel lab` (it needs what only
 * the lab kernel has) or `@kernel each` (the two kernels have different interfaces for it).
 */
export function vmFiles(kernel) {
  return testFiles('test/vm').filter((file) => KERNELS[kernel].includes(kernelOf(file)));
}

/** The test files of a folder, as paths from the project's root. */
export function testFiles(folder) {
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .map((name) => `${folder}/${name}`);
}

function kernelOf(file) {
  const comment = /^\/\*\*[\s\S]*?\*\//.exec(readFileSync(join(root, file), 'utf8'))?.[0] ?? '';
  const kernel = /@kernel (\w+)/.exec(comment)?.[1];
  if (kernel === 'stock' || kernel === 'lab' || kernel === 'each') return kernel;
  throw new Error(
    `${file}: its first comment must have @kernel stock, @kernel lab or @kernel each`,
  );
}

/** Where bundles of tests are; as deep as test/vm, so that paths from `__dirname` hold for both. */
export const BUNDLES = 'build/vm';

/**
 * Bundles test files, with all that they import, into one: an emulated processor takes seconds to
 * load the hundreds of files that they are, and seconds more for each file that jest isolates.
 */
export async function bundleTests(name, files) {
  // The bundler is not there before npm packages are installed.
  const { bundleWithLibrary } = await import('../bundle.mjs');
  mkdirSync(join(root, BUNDLES), { recursive: true });
  const entry = join(BUNDLES, `${name}.entry.mjs`);
  const parts = files.map(
    (file) => `describe(${JSON.stringify(file)}, () => { require('../../${file}'); });\n`,
  );
  writeFileSync(join(root, entry), parts.join(''));
  await bundleWithLibrary({ [`${name}.test`]: entry }, BUNDLES);
}
