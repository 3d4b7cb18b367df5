/**
 * npm run bench: ours against the same in C, interleaved in one run.
 *
 *   npm run bench -- [--json] [--runs N] [--native]
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/package-root';
import { measure, median, type Row, spread } from './rows';

const NATIVE_ROWS = ['native-read32', 'native-write32', 'native-irq-p50'];

/** The baselines, compiled; the directory they are in. */
function baselines(): string {
  const directory = join(packageRoot(), 'build/bench');
  mkdirSync(directory, { recursive: true });
  for (const name of ['native', 'device', 'nvme']) {
    const source = join(packageRoot(), `bench/c/${name}.c`);
    execFileSync('gcc', ['-O2', '-pthread', '-o', join(directory, name), source]);
  }
  return directory;
}

function nativeRows(c: string, runs: number): Row[] {
  return NATIVE_ROWS.map((name) => {
    const ours = [process.execPath, join(__dirname, 'ours-native.js'), name];
    return measure({ name, where: 'native', unit: 'ns', ours, c: [join(c, 'native'), name] }, runs);
  });
}

function labRows(c: string, runs: number): Row[] {
  const lab = [join(__dirname, '../src/cli/main.js'), 'lab', '--timeout', '600'];
  const inside = ['node', join(__dirname, 'lab.js'), c, `${runs}`];
  const args = [...lab, '--device', 'nvme', '--device', 'edu', '--', ...inside];
  const output = execFileSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = output.split('\n').filter((line) => line.startsWith('{"name"'));
  return lines.map((line) => JSON.parse(line) as Row);
}

function table(rows: readonly Row[]): void {
  const line = (cells: readonly string[]) =>
    console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(24) : cell.padStart(12))).join(''));
  const number = (value: number) => (Number.isFinite(value) ? value.toPrecision(4) : '-');
  const percent = (values: readonly number[]) =>
    values.length < 2 ? '-' : `${(spread(values) * 100).toFixed(0)} %`;
  line(['row', 'where', 'unit', 'ours', 'spread', 'C', 'spread', 'ours / C']);
  for (const { name, where, unit, ours, c, ratio } of rows) {
    const ourCells = [number(median(ours)), percent(ours)];
    const cCells = [number(median(c)), percent(c), ratio === null ? '-' : ratio.toFixed(2)];
    line([name, where, unit, ...ourCells, ...cCells]);
  }
}

const usage = `Usage: npm run bench -- [--json] [--runs N] [--native]

  --json    rows as one object
  --runs N  how often each is measured (default: 5)
  --native  only what needs no VM`;

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        json: { type: 'boolean' },
        native: { type: 'boolean' },
        runs: { type: 'string', default: '5' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (!/^[1-9]\d*$/.test(values.runs))
      throw new Error(`--runs takes a number, not ${values.runs}`);
    return values;
  } catch (error) {
    console.error(`bench: ${(error as Error).message}\n\n${usage}`);
    process.exit(2);
  }
}

const values = readOptions();
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const c = baselines();
const runs = Number(values.runs);
const rows = [...nativeRows(c, runs), ...(values.native ? [] : labRows(c, runs))];
if (values.json) console.log(JSON.stringify({ rows }));
else table(rows);
