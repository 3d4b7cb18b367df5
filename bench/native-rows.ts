/**
 * The rows outside the VM: this library and C in turn.
 *
 *   node native-rows.js --programs DIR [--runs N] [--profile DIR] [ROW...]    prints the rows as JSON
 */
import { parseRunOptions, type RunOptions } from './arguments';
import { type Contest, runContests } from './contest';

interface NativeRow {
  readonly name: string;
  readonly unit: string;
  /** Operations of a slice. */
  readonly count: number;
  readonly slices: number;
  /** Whether C has the same. */
  readonly inC: boolean;
}

const timing = (name: string, unit: string, count: number): NativeRow => ({
  ...{ name, unit, count, slices: 9, inC: true },
});

const allocation = (name: string): NativeRow => ({
  ...{ name, unit: 'bytes', count: 1_000_000, slices: 1, inC: false },
});

const rows: readonly NativeRow[] = [
  { ...timing('native-call', 'ns', 2_000_000), inC: false },
  timing('native-read32', 'ns', 5_000_000),
  timing('native-write32', 'ns', 5_000_000),
  timing('native-ring-forward', 'ns/packet', 2_000_000),
  timing('native-irq-p50', 'us', 20_000),
  allocation('alloc-bytes-per-packet'),
  allocation('alloc-bytes-per-io'),
];

function contestOf(row: NativeRow, { runs, ours, c }: RunOptions): Contest {
  const { name, unit, slices, inC } = row;
  const count = String(row.count);
  return {
    ...{ name, where: 'native', unit, slices, runs },
    ours: ours('on-memory.js', name, count, c('ring-device').file),
    c: inC ? c('native', name, count) : undefined,
  };
}

async function main(options: RunOptions): Promise<void> {
  const wanted = rows.filter(({ name }) => options.isWanted(name));
  const results = await runContests(wanted.map((row) => contestOf(row, options)));
  console.log(JSON.stringify(results));
}

void main(parseRunOptions(process.argv.slice(2)));
