// npm run bench [-- --json] [--runs N]: this library and C in turn, row by row, in one VM and outside.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ready } from './ready.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const programs = join(root, 'build', 'bench');
const { values } = parseArgs({
  options: { json: { type: 'boolean' }, runs: { type: 'string', default: '5' } },
});

process.chdir(root);
ready();
compile();
const rows = [...inVm(), ...native()];
const { table } = createRequire(import.meta.url)(join(root, 'dist/bench/statistics.js'));
console.log(values.json ? JSON.stringify({ rows }) : table(rows));

function compile() {
  mkdirSync(programs, { recursive: true });
  for (const name of ['nvme', 'edu', 'native', 'ring-device']) {
    const output = join(programs, name);
    execFileSync('cc', ['-O2', '-Wall', '-pthread', '-o', output, join('bench/c', `${name}.c`)]);
  }
}

/** Rows that a program prints as JSON. */
function rowsOf(args) {
  const stdio = ['ignore', 'pipe', 'inherit'];
  return JSON.parse(execFileSync(process.execPath, args, { stdio, encoding: 'utf8' }));
}

function inVm() {
  return rowsOf([
    ...['dist/src/cli/main.js', 'lab', '--timeout', '1800', '--device', 'nvme', '--device', 'edu'],
    ...['--', process.execPath, 'dist/bench/lab-rows.js', programs, values.runs],
  ]);
}

function native() {
  return rowsOf(['dist/bench/native-rows.js', programs, values.runs]);
}
