// What tsc checks, rolldown makes into few files: Node loads each file with several system calls, which
// cost milliseconds each in an emulated VM.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const common = {
  cwd: root,
  platform: 'node',
  // Its `paths` are where `vfio` is found, unless that is external.
  tsconfig: 'tsconfig.json',
  transform: { target: 'node20' },
  // Such as an import that cannot be resolved.
  onLog: (level, log, print) => (level === 'warn' ? print('error', log) : print(level, log)),
};

const output = {
  dynamicImportInCjs: false,
  format: 'cjs',
  sourcemap: true,
  entryFileNames: '[name].js',
};

async function bundle(input, options) {
  const build = await rolldown({ ...common, ...input });
  try {
    return (await build.write({ ...output, ...options })).output;
  } finally {
    await build.close();
  }
}

/** Programs that use the package as others do: `require('vfio')` stays, and finds dist/. */
const outside = ['vfio', 'vfio/lab'];

/**
 * The chunks of dist/, from the lowest. What only one command needs is in none of them: it becomes a
 * chunk of its own. Only `ioctl` loads the addon, without which `vfio list` has to work.
 */
const groups = [
  {
    name: 'base',
    test: /\/src\/(errors|hints|package-root|printable|lab\/(errors|paths))\.ts$/,
  },
  { name: 'pci', test: /\/src\/pci\// },
  { name: 'ioctl', test: /\/src\/(native\.ts|ioctl\/)/ },
  { name: 'dma', test: /\/src\/(irq|dma)\// },
  { name: 'device', test: /\/src\/device\// },
  { name: 'lab', test: /\/src\/lab\// },
  {
    name: 'command',
    test: /\/node_modules\/(commander|picocolors)\/|\/src\/cli\/(run|output)\.ts$/,
  },
].map((group, i, all) => ({ ...group, minShareCount: 2, priority: all.length - i }));

/** `vfio`, `vfio/lab` and the command, with one copy of what they share. */
export async function bundlePackage() {
  const dist = join(root, 'dist');
  mkdirSync(dist, { recursive: true });
  for (const name of readdirSync(dist)) {
    if (name !== 'types') rmSync(join(dist, name), { recursive: true });
  }
  const chunks = await bundle(
    { input: { index: 'src/index.ts', lab: 'src/lab/index.ts', cli: 'src/cli/main.ts' } },
    {
      dir: dist,
      chunkFileNames: 'chunks/[name].js',
      // The package has the sources.
      sourcemapExcludeSources: true,
      codeSplitting: { groups },
    },
  );
  writeFileSync(join(dist, 'THIRD-PARTY-LICENSES.txt'), licenses(chunks));
}

/** The licenses of the packages whose code is in the chunks: they ask to be kept with it. */
function licenses(chunks) {
  const inPackage = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//;
  const modules = chunks.flatMap(({ moduleIds = [] }) => moduleIds);
  const found = modules.map((id) => inPackage.exec(id)?.[1]).filter((path) => path !== undefined);
  return [...new Set(found)]
    .sort()
    .map((path) => {
      const { name, version } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
      const file = readdirSync(path).find((entry) => /^licen[cs]e/i.test(entry));
      if (file === undefined) throw new Error(`${name} has no license text`);
      return `${name} ${version}\n\n${readFileSync(join(path, file), 'utf8').trim()}\n`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}

/**
 * One file for each program, in `directory`, with all it needs but this package.
 *
 * @param input names of programs, and their sources
 */
export function bundlePrograms(input, directory) {
  return separately(input, directory, outside);
}

/** The same, with the parts of src/ that it needs: for what looks inside the library. */
export function bundleWithLibrary(input, directory) {
  return separately(input, directory, []);
}

async function separately(input, directory, external) {
  const options = { dir: join(root, directory), codeSplitting: false };
  const bundles = Object.entries(input).map(([name, file]) =>
    bundle({ input: { [name]: file }, external }, options),
  );
  await Promise.all(bundles);
}

const named = (folder, names) =>
  Object.fromEntries(names.map((name) => [name, `${folder}/${name}.ts`]));

const examples = {
  edu: ['edu'],
  igb: ['capture', 'count', 'demo', 'forward', 'generate', 'pf', 'queue-worker', 'vf'],
  migration: ['move', 'receive', 'send'],
  nvme: ['bench', 'identify'],
};

/** The programs of examples/ and bench/, and what the lab's tests run in a guest, into build/. */
export async function bundleAllPrograms() {
  const bench = ['lab-rows', 'native-rows', 'on-devices', 'statistics'];
  await Promise.all([
    ...Object.entries(examples).map(([folder, names]) =>
      bundlePrograms(named(`examples/${folder}`, names), `build/examples/${folder}`),
    ),
    bundlePrograms(named('bench', bench), 'build/bench'),
    bundleWithLibrary(named('bench', ['iova-allocator', 'on-memory']), 'build/bench'),
    bundleWithLibrary(named('test/lab/guest', ['widths']), 'build/test-guest'),
  ]);
}
