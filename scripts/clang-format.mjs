#!/usr/bin/env node
// The style of native/: --check (the default) fails on files that differ from .clang-format,
// --fix rewrites them.
import { spawnSync } from 'node:child_process';
import { chmodSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const { clangFormatPath } = createRequire(import.meta.url)('clang-format-node');
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [mode = '--check', ...rest] = process.argv.slice(2);
const modes = { '--check': ['--dry-run', '--Werror'], '--fix': ['-i'] };
if (!(mode in modes) || rest.length > 0) {
  console.error('usage: clang-format.mjs [--check | --fix]');
  process.exit(2);
}

// The package's install script does this, but install scripts may be turned off.
chmodSync(clangFormatPath, 0o755);
const files = readdirSync(join(root, 'native'))
  .filter((name) => /\.(cc|h)$/.test(name))
  .map((name) => join(root, 'native', name));
const { status, error } = spawnSync(clangFormatPath, [...modes[mode], ...files], {
  stdio: 'inherit',
});
if (error !== undefined) throw error;
process.exit(status ?? 1);
