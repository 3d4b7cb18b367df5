/**
 * The rows outside the VM: this library and C in turn, each run a process of its own.
 *
 *   node native-rows.js --programs DIR [--runs N] [--profile DIR] [ROW...]    prints the rows as JSON
 */
import { join } from 'node:path';
import { numberFrom, numberFromOurs, parseRunOptions, type RunOptions } from './arguments';
import { makeRow, type Row, tableLine } from './statistics';

const rows = [
  { name: 'native-read32', unit: 'ns', count: 5_000_000 },
  { name: 'native-write32', unit: 'ns', count: 5_000_000 },
  { name: 'native-ring-forward', unit: 'ns/packet', count: 2_000_000 },
  { name: 'native-irq-p50', unit: 'us', count: 20_000 },
] as const;

const ALLOCATIONS = ['alloc-bytes-per-packet', 'alloc-bytes-per-io'] as const;
const OPERATIONS = 1_000_000;

const script = join(__dirname, 'on-memory.js');

function ours(name: string, count: number, options: RunOptions): number {
  const args = [name, String(count), join(options.programs, 'ring-device')];
  return numberFromOurs(script, args, options);
}

function timing({ name, unit, count }: (typeof rows)[number], options: RunOptions): Row {
  const [mine, c]: [number[], number[]] = [[], []];
  for (let i = 0; i < options.runs; i++) {
    mine.push(ours(name, count, options));
    c.push(numberFrom(join(options.programs, 'native'), [name, String(count)]));
  }
  return makeRow({ name, where: 'native', unit, ours: mine, c });
}

function allocation(name: string, options: RunOptions): Row {
  const values = Array.from({ length: options.runs }, () => ours(name, OPERATIONS, options));
  return makeRow({ name, where: 'native', unit: 'bytes', ours: values, c: [] });
}

function main(options: RunOptions): void {
  const results: Row[] = [];
  const add = (row: Row) => {
    console.error(tableLine(row));
    results.push(row);
  };
  for (const row of rows) if (options.isWanted(row.name)) add(timing(row, options));
  for (const name of ALLOCATIONS) if (options.isWanted(name)) add(allocation(name, options));
  console.log(JSON.stringify(results));
}

main(parseRunOptions(process.argv.slice(2)));
