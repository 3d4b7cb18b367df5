/**
 * The rows outside the VM: this library and C in turn, each run a process of its own.
 *
 *   node native-rows.js DIRECTORY-OF-C-PROGRAMS RUNS [ROW...]    prints the rows as JSON
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { makeRow, type Row } from './statistics';

const rows = [
  { name: 'native-read32', unit: 'ns', count: 5_000_000 },
  { name: 'native-write32', unit: 'ns', count: 5_000_000 },
  { name: 'native-ring-forward', unit: 'ns/packet', count: 2_000_000 },
  { name: 'native-irq-p50', unit: 'us', count: 20_000 },
] as const;

const ALLOCATIONS = ['alloc-bytes-per-packet', 'alloc-bytes-per-io'] as const;
const OPERATIONS = 1_000_000;

function run(file: string, args: readonly string[]): number {
  return Number(execFileSync(file, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
}

function ours(name: string, count: number, programs: string): number {
  const script = join(__dirname, 'on-memory.js');
  return run(process.execPath, [script, name, String(count), join(programs, 'ring-device')]);
}

function allocation(name: string, programs: string, runs: number): Row {
  console.error(name);
  const values = Array.from({ length: runs }, () => ours(name, OPERATIONS, programs));
  return makeRow({ name, where: 'native', unit: 'bytes', ours: values, c: [] });
}

function main([programs, runs = '5', ...only]: string[]): void {
  if (programs === undefined) throw new Error('where are the C programs?');
  const isWanted = (name: string) => only.length === 0 || only.includes(name);
  const results = rows
    .filter(({ name }) => isWanted(name))
    .map(({ name, unit, count }) => {
      console.error(name);
      const [mine, c]: [number[], number[]] = [[], []];
      for (let i = 0; i < Number(runs); i++) {
        mine.push(ours(name, count, programs));
        c.push(run(join(programs, 'native'), [name, String(count)]));
      }
      return makeRow({ name, where: 'native', unit, ours: mine, c });
    });
  const allocations = ALLOCATIONS.filter(isWanted).map((name) =>
    allocation(name, programs, Number(runs)),
  );
  console.log(JSON.stringify([...results, ...allocations]));
}

main(process.argv.slice(2));
