// npm run bench: this library and C in turn, row by row, in one VM and outside.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ready } from './ready.mjs';

const labRows = [
  ...['nvme-randread-4k-qd1', 'nvme-randread-4k-qd32'],
  ...['igb-tx-64b-burst32', 'igb-forward-64b-burst32', 'igb-forward-gc-pause-10s'],
  ...['config-read32', 'bar-read32', 'bar-write32', 'map-unmap-4k', 'map-close-4k'],
  ...['irq-async-p50', 'open-close'],
];
const nativeRows = [
  ...['native-call', 'native-read32', 'native-write32', 'native-ring-forward', 'native-irq-p50'],
  ...['alloc-bytes-per-packet', 'alloc-bytes-per-io'],
];

const usage = `Usage: npm run bench -- [options] [ROW...]

Measure this library against C, a process each, the two in turn every fraction of a second. It needs a
C compiler and, for the rows of the lab, what the lab needs. Without ROW, all rows:

  in the lab  ${labRows.join('\n              ')}
  outside     ${nativeRows.join('\n              ')}

  --json         {"rows":[{"name","where","unit","ours":[],"c":[],"ratio"}]} instead of a table
  --runs N       how often the two are started (default: 5)
  --profile DIR  write a CPU profile of each run of ours to DIR/ROW
  -h, --help     show this

Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const programs = join(root, 'build', 'bench', 'c');
const options = parse();

process.chdir(root);
ready();
compile();
const rows = [...inVm(), ...native()];
const { table } = createRequire(import.meta.url)(join(root, 'build/bench/statistics.js'));
console.log(options.json ? JSON.stringify({ rows }) : table(rows));

function parse() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean' },
        runs: { type: 'string', default: '5' },
        profile: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    if (!/^[1-9]\d{0,2}$/.test(values.runs)) throw new Error(`--runs ${values.runs}: 1 to 999`);
    const unknown = positionals.find((row) => ![...labRows, ...nativeRows].includes(row));
    if (unknown !== undefined) throw new Error(`no row ${unknown}`);
    const profile = values.profile === undefined ? undefined : resolve(values.profile);
    return { ...values, profile, rows: positionals };
  } catch (error) {
    console.error(`bench: ${error.message}\n\n${usage}`);
    process.exit(2);
  }
}

function compile() {
  mkdirSync(programs, { recursive: true });
  for (const name of ['nvme', 'edu', 'igb', 'native', 'ring-device']) {
    const output = join(programs, name);
    execFileSync('cc', ['-O2', '-Wall', '-pthread', '-o', output, join('bench/c', `${name}.c`)]);
  }
}

/** Those of `known` that are asked for. */
function wanted(known) {
  return known.filter((row) => options.rows.length === 0 || options.rows.includes(row));
}

/** Rows that a program prints as JSON. */
function rowsOf(command, script, names) {
  const stdio = ['ignore', 'pipe', 'inherit'];
  const profile = options.profile === undefined ? [] : ['--profile', options.profile];
  const args = ['--programs', programs, '--runs', options.runs, ...profile, ...names];
  const output = execFileSync(process.execPath, [...command, script, ...args], {
    stdio,
    encoding: 'utf8',
  });
  return JSON.parse(output);
}

function inVm() {
  const names = wanted(labRows);
  if (names.length === 0) return [];
  // C has devices of its own.
  const kinds = ['igb', 'igb', 'igb-pair', 'igb-pair', 'nvme', 'nvme', 'edu', 'edu'];
  const devices = kinds.flatMap((device) => ['--device', device]);
  const out = options.profile === undefined ? [] : ['--out', options.profile];
  // One processor: emulated ones take turns, so that the threads of node would take time from each other
  // that a C program without threads keeps.
  const lab = ['dist/cli.js', 'lab', '--timeout', '3600', '--cpus', '1', ...devices, ...out];
  return rowsOf([...lab, '--', process.execPath], 'build/bench/lab-rows.js', names);
}

function native() {
  const names = wanted(nativeRows);
  return names.length === 0 ? [] : rowsOf([], 'build/bench/native-rows.js', names);
}
