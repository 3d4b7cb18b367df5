#!/usr/bin/env node
// Runs the addon's tests on the build with sanitizers (scripts/build-asan.mjs). Further arguments
// go to jest.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const addon = join(root, 'build-asan/Release/vfio.node');
if (!existsSync(addon)) {
  console.error('test-asan: build-asan/ is missing; run npm run build:asan');
  process.exit(1);
}

// Node itself is built without the sanitizer, so its run-time library has to be there first.
const runtime = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
const { status, error } = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules/jest/bin/jest.js'),
    '--selectProjects',
    'addon',
    '--runInBand',
    ...process.argv.slice(2),
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      VFIO_ADDON: addon,
      LD_PRELOAD: runtime,
      // Node does not free everything at exit; SIGBUS is what some tests are about, and the growth
      // of memory what others are.
      ASAN_OPTIONS: 'detect_leaks=0:handle_sigbus=0:quarantine_size_mb=1',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    },
  },
);
if (error !== undefined) throw error;
process.exit(status ?? 1);
