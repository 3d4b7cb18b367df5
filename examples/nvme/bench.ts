/** Program: random reads or writes by polling, in I/O operations a second. */
import { emit, type OptionValues, parseCount, runProgram, UsageError } from '../program';
import { NvmeDriver } from './driver';
import type { DataPointer } from './prp';
import { RandomIo } from './random-io';

const USAGE = `Usage: node bench.js BDF [options]

Random reads from an NVMe namespace, by polling. BDF must be bound to vfio-pci.

  --depth N        commands under way (default: 32)
  --bytes N        bytes of each, whole blocks (default: 4096)
  --count N        commands (default: 100000)
  --write MODE     'overwrite': write instead. WHAT IS ON THE NAMESPACE IS LOST
  --vf-token UUID  the token of a function with SR-IOV
  -h, --help       show this

Prints one JSON object: {"event":"done","iops":...,"mibPerSecond":...,"seconds":...}
Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

/** The generator's numbers have 24 bits; larger namespaces are read at their start. */
const MAX_SPAN = 2 ** 24;

interface BenchArguments {
  depth: number;
  bytes: number;
  count: number;
  write: boolean;
}

async function bench(driver: NvmeDriver, { depth, bytes, count, write }: BenchArguments) {
  const { blockBytes, size } = driver.namespace;
  if (bytes % blockBytes !== 0) {
    throw new UsageError(`--bytes ${bytes}: blocks have ${blockBytes} bytes`);
  }
  const pointers: DataPointer[] = [];
  for (let i = 0; i < depth; i++) pointers.push((await driver.allocate(bytes)).pointer);
  const io = new RandomIo({
    queue: driver.queues[0]!,
    pointers,
    write,
    blocks: bytes / blockBytes,
    span: Math.min(Number(size), MAX_SPAN),
  });
  const start = performance.now();
  io.run(count);
  const seconds = (performance.now() - start) / 1000;
  const iops = count / seconds;
  emit('done', {
    iops: Math.round(iops),
    mibPerSecond: Number(((iops * bytes) / 2 ** 20).toFixed(1)),
    seconds: Number(seconds.toFixed(3)),
  });
}

/** A power of two with room for `depth` commands. */
function entriesFor(depth: number): number {
  return 2 ** Math.ceil(Math.log2(depth + 1));
}

async function main(options: OptionValues, positionals: string[]): Promise<void> {
  const [bdf, ...rest] = positionals;
  if (bdf === undefined || rest.length > 0) throw new UsageError('expected one argument, BDF');
  const write = options.write === 'overwrite';
  if (options.write !== undefined && !write) throw new UsageError("--write: 'overwrite'");
  const depth = parseCount('depth', options.depth, 1) ?? 32;
  const bytes = parseCount('bytes', options.bytes, 1) ?? 4096;
  const count = parseCount('count', options.count, 1) ?? 100_000;
  const vfToken = options['vf-token'];
  const driver = await NvmeDriver.open(bdf, {
    ...(vfToken === undefined ? {} : { vfToken }),
    entries: entriesFor(depth),
    completion: 'polling',
  });
  try {
    await bench(driver, { depth, bytes, count, write });
  } finally {
    await driver.close();
  }
}

const string = { type: 'string' } as const;
void runProgram(
  {
    name: 'bench',
    usage: USAGE,
    options: { depth: string, bytes: string, count: string, write: string, 'vf-token': string },
  },
  main,
);
