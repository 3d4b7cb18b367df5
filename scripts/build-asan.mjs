#!/usr/bin/env node
// Builds the addon with AddressSanitizer and UndefinedBehaviorSanitizer into build-asan/.
// `node scripts/test-asan.mjs` runs the addon's tests on it.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  return error === undefined && status === 0;
}

function exists(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined;
}

function fail(message) {
  console.error(`build-asan: ${message}`);
  process.exit(1);
}

/** Debian and its kin: install cmake; elsewhere say what is missing. */
function requireCmake() {
  if (exists('cmake')) return;
  const prefix = process.getuid() === 0 ? [] : ['sudo', '-n'];
  const [command, ...args] = [...prefix, 'apt-get', 'install', '-y', 'cmake'];
  if (!exists('apt-get') || !run(command, args) || !exists('cmake')) {
    fail('cmake is not installed; install the package "cmake" of your distribution');
  }
}

/** Headers that came with this Node, so that cmake-js need not download them. */
function headers() {
  const prefix = join(dirname(process.execPath), '..');
  const here = existsSync(join(prefix, 'include/node/node.h'));
  return process.env.npm_config_nodedir === undefined && here ? { npm_config_nodedir: prefix } : {};
}

requireCmake();
const cmakeJs = join(root, 'node_modules/.bin/cmake-js');
if (!existsSync(cmakeJs)) fail('cmake-js is not installed; run npm install');
const built = run(
  cmakeJs,
  ['build', '--directory', 'native', '--out', 'build-asan', '--CDVFIO_SANITIZE=ON'],
  headers(),
);
process.exit(built ? 0 : 1);
