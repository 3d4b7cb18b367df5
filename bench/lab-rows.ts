/**
 * The rows of the lab: this library and C in turn, each run a process of its own, in one boot.
 *
 *   node lab-rows.js DIRECTORY-OF-C-PROGRAMS RUNS    prints the rows as JSON
 */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bindDriver, readPciDevice } from 'vfio';
import { makeRow, type Row } from './statistics';

interface LabRow {
  readonly name: string;
  readonly unit: string;
  readonly device: 'nvme' | 'edu';
  readonly count: number;
  /** Arguments of the C program. */
  readonly c: (bdf: string, count: number) => string[];
}

const nvme = (name: string, depth: number, count: number): LabRow => ({
  name,
  unit: 'IOPS',
  device: 'nvme',
  count,
  c: (bdf) => ['nvme', bdf, String(depth), String(count)],
});

const edu = (name: string, unit: string, count: number): LabRow => ({
  name,
  unit,
  device: 'edu',
  count,
  c: (bdf) => ['edu', name, bdf, String(count)],
});

const rows: readonly LabRow[] = [
  nvme('nvme-randread-4k-qd1', 1, 4_000),
  nvme('nvme-randread-4k-qd32', 32, 20_000),
  edu('config-read32', 'ns', 20_000),
  edu('bar-read32', 'ns', 50_000),
  edu('bar-write32', 'ns', 50_000),
  edu('map-unmap-4k', 'us', 2_000),
  edu('irq-async-p50', 'us', 1_000),
  edu('open-close', 'us', 10),
];

const ids = { nvme: [0x1b36, 0x0010], edu: [0x1234, 0x11e8] } as const;

function findBdf(kind: keyof typeof ids): string {
  const [vendor, device] = ids[kind];
  const found = readdirSync('/sys/bus/pci/devices')
    .map(readPciDevice)
    .find((pci) => pci.vendor === vendor && pci.device === device);
  if (!found) throw new Error(`the VM has no ${kind}`);
  return found.bdf;
}

function run(file: string, args: readonly string[]): number {
  return Number(execFileSync(file, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
}

function measure(row: LabRow, bdf: string, programs: string, runs: number): Row {
  const [ours, c]: [number[], number[]] = [[], []];
  const [program, ...args] = row.c(bdf, row.count);
  const script = join(__dirname, 'on-devices.js');
  for (let i = 0; i < runs; i++) {
    ours.push(run(process.execPath, [script, row.name, bdf, String(row.count)]));
    c.push(run(join(programs, program!), args));
  }
  return makeRow({ name: row.name, where: 'lab', unit: row.unit, ours, c });
}

async function main([programs, runs = '5', only]: string[]): Promise<void> {
  if (programs === undefined) throw new Error('where are the C programs?');
  const bdfs = { nvme: findBdf('nvme'), edu: findBdf('edu') };
  const bindings = await Promise.all(Object.values(bdfs).map((bdf) => bindDriver(bdf)));
  const wanted = rows.filter(({ name }) => only === undefined || name === only);
  const results = wanted.map((row) => {
    console.error(row.name);
    return measure(row, bdfs[row.device], programs, Number(runs));
  });
  await Promise.all(bindings.map((binding) => binding.restore()));
  console.log(JSON.stringify(results));
}

void main(process.argv.slice(2));
