/** Random reads of 4 KiB, polled: how many a second. */
import { performance } from 'node:perf_hooks';
import { openDevice } from 'vfio';
import { emit, parseCount, runProgram, UsageError } from '../program';
import { NvmeController } from './controller';
import { Namespace } from './namespace';
import type { CompletionSink } from './queue';
import { describeStatus, NvmeError } from './status';

const USAGE = `Usage: node bench.js BDF [--depth N] [--seconds S]

Keep N (1 to 63, default 32) random reads of 4 KiB under way for S seconds (default 5).
Prints one line of JSON: I/Os per second, and bytes of JavaScript memory allocated per I/O.`;

const BYTES = 4096;
const ENTRIES = 64;
const TURNS = 256;

/** Submits a new read for each that is completed. */
class RandomReader implements CompletionSink {
  completed = 0;
  private seed = 1;
  private readonly buffers: Uint16Array;

  constructor(
    private readonly disk: Namespace,
    private readonly data: { readonly iovaLo: number; readonly iovaHi: number },
    private readonly blocks: number,
  ) {
    this.buffers = new Uint16Array(ENTRIES);
  }

  start(depth: number): void {
    for (let i = 0; i < depth; i++) this.submit(i);
    this.disk.commands.queue.ring();
  }

  turn(): void {
    const { queue } = this.disk.commands;
    if (queue.reap(this, ENTRIES) > 0) queue.ring();
  }

  complete(id: number, status: number): void {
    if (status !== 0) throw new NvmeError(describeStatus(status), status);
    this.completed++;
    this.submit(this.buffers[id]!);
  }

  private submit(buffer: number): void {
    this.seed = (Math.imul(this.seed, 1_664_525) + 1_013_904_223) >>> 0;
    const perRead = BYTES / this.disk.info.blockBytes;
    const lba = ((this.seed >>> 14) % (this.blocks / perRead)) * perRead;
    const id = this.disk.submitRead(lba, perRead, this.data, buffer * BYTES);
    this.buffers[id] = buffer;
  }
}

function run(reader: RandomReader, seconds: number): { iops: number; count: number } {
  const before = reader.completed;
  const start = performance.now();
  let now = start;
  while (now - start < seconds * 1000) {
    for (let i = 0; i < TURNS; i++) reader.turn();
    now = performance.now();
  }
  const count = reader.completed - before;
  return { iops: count / ((now - start) / 1000), count };
}

async function main(bdf: string | undefined, depth: number, seconds: number): Promise<void> {
  if (bdf === undefined || depth >= ENTRIES) throw new UsageError('expected BDF, and N up to 63');
  const device = await openDevice(bdf);
  try {
    const controller = await NvmeController.start(device);
    const info = await controller.identifyNamespace();
    const disk = new Namespace(await controller.createQueue({ depth: ENTRIES }), info);
    const data = await device.dma.alloc(depth * BYTES);
    const reader = new RandomReader(disk, data, Math.min(Number(info.blocks), 1 << 21));
    reader.start(depth);
    run(reader, seconds / 2); // compiled from here on
    globalThis.gc?.();
    const heap = process.memoryUsage().heapUsed;
    const { iops, count } = run(reader, seconds);
    emit('nvme', {
      depth,
      iops: Math.round(iops),
      count,
      bytesPerIo: (process.memoryUsage().heapUsed - heap) / count,
    });
  } finally {
    await device.close();
  }
}

void runProgram(
  {
    name: 'bench',
    usage: USAGE,
    options: { depth: { type: 'string' }, seconds: { type: 'string' } },
  },
  ({ depth, seconds }, [bdf]) =>
    main(bdf, parseCount('depth', depth, 1) ?? 32, parseCount('seconds', seconds, 1) ?? 5),
);
