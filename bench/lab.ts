/** The rows of the lab, run inside it: `node lab.js DIRECTORY_OF_C RUNS` prints one JSON row a line. */
import { readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { bindDriver, readPciDevice } from '../src';
import { measure, type Row, run } from './rows';

const SECONDS = 2;
const EDU_ROWS = ['config-read32', 'bar-read32', 'bar-write32', 'map-unmap-4k', 'open-close'];

function find(vendor: number, device: number): string {
  const bdf = readdirSync('/sys/bus/pci/devices').find((name) => {
    const pci = readPciDevice(name);
    return pci.vendor === vendor && pci.device === device;
  });
  if (bdf === undefined) throw new Error('the lab lacks a device of the benchmark');
  return bdf;
}

const group = (bdf: string) => basename(readlinkSync(`/sys/bus/pci/devices/${bdf}/iommu_group`));
const print = (row: Row) => console.log(JSON.stringify(row));
const nvmeResult = (field: 'iops' | 'bytesPerIo') => (output: string) =>
  (JSON.parse(output) as Record<typeof field, number>)[field];

async function main(c: string, runs: number): Promise<void> {
  const nvme = find(0x1b36, 0x0010);
  const edu = find(0x1234, 0x11e8);
  for (const bdf of [nvme, edu]) await bindDriver(bdf);
  const bench = join(__dirname, '../examples/nvme/bench.js');
  const nvmeCommand = (depth: number, seconds: number) => [
    ...[process.execPath, '--expose-gc', bench, nvme],
    ...['--depth', `${depth}`, '--seconds', `${seconds}`],
  ];
  for (const depth of [1, 32]) {
    const row = {
      name: `nvme-randread-4k-qd${depth}`,
      where: 'lab',
      unit: 'IOPS',
      ours: nvmeCommand(depth, SECONDS),
      c: [join(c, 'nvme'), group(nvme), nvme, `${depth}`, `${SECONDS}`],
      parse: nvmeResult('iops'),
    } as const;
    print(measure(row, runs));
  }
  for (const name of EDU_ROWS) {
    const ours = [process.execPath, join(__dirname, 'ours-device.js'), edu, name];
    const theirs = [join(c, 'device'), group(edu), edu, name];
    print(measure({ name, where: 'lab', unit: 'ns', ours, c: theirs }, runs));
  }
  const bytes = run('alloc-bytes-per-io', nvmeCommand(32, 5 * SECONDS), nvmeResult('bytesPerIo'));
  const name = 'alloc-bytes-per-io';
  print({ name, where: 'lab', unit: 'bytes', ours: [bytes], c: [], ratio: null });
}

const [c = '', runs = '5'] = process.argv.slice(2);
void main(c, Number(runs));
