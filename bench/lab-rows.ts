/**
 * The rows of the lab: this library and C in turn, each run a process of its own, in one boot.
 *
 *   node lab-rows.js --programs DIR [--runs N] [--profile DIR] [ROW...]    prints the rows as JSON
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bindDriver, readPciDevice } from 'vfio';
import { numberFrom, numberFromOurs, parseRunOptions, type RunOptions } from './arguments';
import { makeRow, type Row, tableLine } from './statistics';

interface LabRow {
  readonly name: string;
  readonly unit: string;
  readonly device: keyof typeof ids;
  readonly count: number;
  /** The C program and its arguments; undefined where C has nothing to compare. */
  readonly c: ((bdfs: readonly string[], count: number) => string[]) | undefined;
}

const nvme = (name: string, depth: number, count: number): LabRow => ({
  name,
  unit: 'IOPS',
  device: 'nvme',
  count,
  c: ([bdf]) => ['nvme', bdf!, String(depth), String(count)],
});

const edu = (name: string, unit: string, count: number, cName = name): LabRow => ({
  name,
  unit,
  device: 'edu',
  count,
  c: ([bdf]) => ['edu', cName, bdf!, String(count)],
});

const igb = (
  name: string,
  program: 'tx' | 'forward',
  device: 'igb' | 'igbPair',
  count: number,
): LabRow => ({
  name,
  unit: 'frames/s',
  device,
  count,
  c: (bdfs) => ['igb', program, ...bdfs, String(count)],
});

/** Counts: of a second or two. */
const rows: readonly LabRow[] = [
  nvme('nvme-randread-4k-qd1', 1, 60_000),
  nvme('nvme-randread-4k-qd32', 32, 400_000),
  igb('igb-tx-64b-burst32', 'tx', 'igb', 1_500_000),
  igb('igb-forward-64b-burst32', 'forward', 'igbPair', 400_000),
  { name: 'igb-forward-gc-pause-10s', unit: 'ms', device: 'igbPair', count: 10, c: undefined },
  edu('config-read32', 'ns', 300_000),
  edu('bar-read32', 'ns', 1_000_000),
  edu('bar-write32', 'ns', 1_000_000),
  edu('map-unmap-4k', 'us', 20_000),
  edu('map-close-4k', 'us', 5_000, 'map-unmap-4k'),
  edu('irq-async-p50', 'us', 30_000),
  edu('open-close', 'us', 10),
];

/** Vendor, device, which of those there are (by address). */
const ids = {
  nvme: [0x1b36, 0x0010, 0, 1],
  edu: [0x1234, 0x11e8, 0, 1],
  igb: [0x8086, 0x10c9, 0, 1],
  igbPair: [0x8086, 0x10c9, 1, 3],
} as const;

function findBdfs(kind: keyof typeof ids): string[] {
  const [vendor, device, first, end] = ids[kind];
  const found = readdirSync('/sys/bus/pci/devices')
    .sort()
    .map(readPciDevice)
    .filter((pci) => pci.vendor === vendor && pci.device === device)
    .slice(first, end);
  if (found.length < end - first) throw new Error(`the VM has no ${kind}`);
  return found.map(({ bdf }) => bdf);
}

function measure(row: LabRow, options: RunOptions): Row {
  const [ours, c]: [number[], number[]] = [[], []];
  const bdfs = findBdfs(row.device);
  const script = join(__dirname, 'on-devices.js');
  for (let i = 0; i < options.runs; i++) {
    const args = [row.name, bdfs.join(','), String(row.count)];
    ours.push(numberFromOurs(script, args, options));
    if (row.c === undefined) continue;
    const [program, ...rest] = row.c(bdfs, row.count);
    c.push(numberFrom(join(options.programs, program!), rest));
  }
  return makeRow({ name: row.name, where: 'lab', unit: row.unit, ours, c });
}

async function main(options: RunOptions): Promise<void> {
  const wanted = rows.filter(({ name }) => options.isWanted(name));
  const bdfs = new Set(wanted.flatMap(({ device }) => findBdfs(device)));
  const bindings = await Promise.all([...bdfs].map((bdf) => bindDriver(bdf)));
  const results = wanted.map((row) => {
    const result = measure(row, options);
    console.error(tableLine(result));
    return result;
  });
  await Promise.all(bindings.map((binding) => binding.restore()));
  console.log(JSON.stringify(results));
}

void main(parseRunOptions(process.argv.slice(2)));
