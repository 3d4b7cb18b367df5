// What a fresh clone needs before anything can run in it, each step only if it is due. Uses nothing
// but Node and npm.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Runs a command in the project's root; its status, or 1 if it could not be run. */
export function run(command, args, env = {}, stdin = 'inherit') {
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: [stdin, 'inherit', 'inherit'],
    env: { ...process.env, ...env },
  });
  return status ?? 1;
}

/** A tool that an npm package brought. */
export function tool(name, args, env = {}) {
  return run(process.execPath, [join(root, 'node_modules', name), ...args], env);
}

/** Without stdin, so that Ctrl-C on a terminal ends this as well, and not only what the guest runs. */
export function cli(args) {
  return run(process.execPath, [join(root, 'dist/cli.js'), ...args], {}, 'ignore');
}

/** When a file, a directory or anything below it was last changed; 0 if there is no such thing. */
function changed(path) {
  const at = join(root, path);
  if (!existsSync(at)) return 0;
  const stat = statSync(at);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(at).map((name) => changed(join(path, name))));
}

function step(title, status) {
  if (status === 0) return;
  console.error(`vfio: ${title} failed`);
  process.exit(1);
}

function packages() {
  if (changed('node_modules/.package-lock.json') >= changed('package-lock.json')) return;
  console.log('vfio: installing npm packages');
  // The addon is built below, where a failure has a name of its own.
  step('npm ci', run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']));
}

function addon() {
  const built = changed('build/Release/vfio.node');
  if (built > Math.max(changed('native'), changed('binding.gyp'))) return;
  console.log('vfio: building the addon');
  const args = ['rebuild', '--loglevel=error'];
  step('building the addon', tool('node-gyp/bin/node-gyp.js', args));
}

/** As old as what was compiled last. */
export const compiled = 'build/compiled';

const sources = [
  ...[
    'src',
    'examples',
    'bench',
    'test/lab/guest',
    'scripts/bundle.mjs',
    'scripts/declarations.mjs',
  ],
  ...['tsconfig.json', 'tsconfig.build.json', 'package-lock.json'],
];

function typescript() {
  const isBuilt = existsSync(join(root, 'dist/cli.js'));
  if (isBuilt && changed(compiled) > Math.max(...sources.map(changed))) return;
  step('compiling TypeScript', run(process.execPath, ['scripts/compile.mjs']));
}

/** npm packages, the addon, dist/ and the programs in build/ as the sources are now. */
export function build() {
  packages();
  addon();
  typescript();
}

/** QEMU, a kernel and busybox for the lab, besides. */
export function ready() {
  build();
  step('setting up the lab', cli(['lab', 'setup']));
}

/** Whether `vfio lab kernel` has built one with the options of this state of the sources. */
export function hasLabKernel() {
  const require = createRequire(import.meta.url);
  return require('../dist/lab.js').findLabKernel() !== undefined;
}
