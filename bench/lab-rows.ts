/**
 * The rows of the lab: this library and C in turn, in one boot, each with devices of its own.
 *
 *   node lab-rows.js --programs DIR [--runs N] [--profile DIR] [ROW...]    prints the rows as JSON
 */
import { readdirSync } from 'node:fs';
import { bindDriver, readPciDevice } from 'vfio';
import { parseRunOptions, type RunOptions } from './arguments';
import { type Contest, runContests } from './contest';

interface LabRow {
  readonly name: string;
  readonly unit: string;
  readonly device: keyof typeof ids;
  /** Operations of a slice: a fifth of a second or so. */
  readonly count: number;
  /** The C program and its arguments; undefined where C has nothing to compare. */
  readonly c:
    | ((bdfs: readonly string[], count: number) => [program: string, ...args: string[]])
    | undefined;
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

const rows: readonly LabRow[] = [
  nvme('nvme-randread-4k-qd1', 1, 6000),
  nvme('nvme-randread-4k-qd32', 32, 40_000),
  igb('igb-tx-64b-burst32', 'tx', 'igb', 200_000),
  igb('igb-forward-64b-burst32', 'forward', 'igbPair', 50_000),
  edu('config-read32', 'ns', 50_000),
  edu('bar-read32', 'ns', 200_000),
  edu('bar-write32', 'ns', 200_000),
  edu('map-unmap-4k', 'us', 4000),
  edu('map-close-4k', 'us', 800, 'map-unmap-4k'),
  edu('irq-async-p50', 'us', 15_000),
  edu('open-close', 'us', 5),
];

/** A quarter of a minute: no slices. */
const gcPause: LabRow = {
  name: 'igb-forward-gc-pause-10s',
  unit: 'ms',
  device: 'igbPair',
  count: 10,
  c: undefined,
};

const SLICES = 9;

/** Vendor, device, where those of a kind begin (by address), and how many ours and C have each. */
const ids = {
  nvme: [0x1b36, 0x0010, 0, 1],
  edu: [0x1234, 0x11e8, 0, 1],
  igb: [0x8086, 0x10c9, 0, 1],
  igbPair: [0x8086, 0x10c9, 2, 2],
} as const;

/** The devices of ours, and those of C. */
function findBdfs(kind: keyof typeof ids): [string[], string[]] {
  const [vendor, device, first, width] = ids[kind];
  const found = readdirSync('/sys/bus/pci/devices')
    .sort()
    .map(readPciDevice)
    .filter((pci) => pci.vendor === vendor && pci.device === device)
    .slice(first, first + 2 * width)
    .map(({ bdf }) => bdf);
  if (found.length < 2 * width) throw new Error(`the VM has too few devices: ${kind}`);
  return [found.slice(0, width), found.slice(width)];
}

function contestOf(row: LabRow, options: RunOptions): Contest {
  const { name, unit, count } = row;
  const [mine, theirs] = findBdfs(row.device);
  return {
    ...{ name, where: 'lab', unit, slices: row === gcPause ? 1 : SLICES, runs: options.runs },
    ours: options.ours('on-devices.js', name, mine.join(','), String(count)),
    c: row.c && options.c(...row.c(theirs, count)),
  };
}

async function main(options: RunOptions): Promise<void> {
  const wanted = [...rows, gcPause].filter(({ name }) => options.isWanted(name));
  const bdfs = new Set(wanted.flatMap(({ device }) => findBdfs(device).flat()));
  const bindings = await Promise.all([...bdfs].map((bdf) => bindDriver(bdf)));
  const results = await runContests(wanted.map((row) => contestOf(row, options)));
  await Promise.all(bindings.map((binding) => binding.restore()));
  console.log(JSON.stringify(results));
}

void main(parseRunOptions(process.argv.slice(2)));
