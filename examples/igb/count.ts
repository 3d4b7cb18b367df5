/** Program: receive on several queues, a worker thread each, and count. */
import {
  emit,
  listenForStop,
  type OptionValues,
  parseCount,
  runProgram,
  UsageError,
} from '../program';
import { formatMac } from './mac';
import { MAX_QUEUES } from './port';
import { QueueWorkers } from './queue-workers';

const USAGE = `Usage: node count.js BDF [options]

Count what a port of an Intel 82576 (igb) receives, on several queues with a worker thread each; the
port spreads IP flows over them. BDF must be bound to vfio-pci and have no VFs.

  --queues N   1 to ${MAX_QUEUES} (default: 2)
  --seconds S  end after S seconds; without it, at SIGINT or SIGTERM
  -h, --help   show this

Prints one JSON object a line:
  {"event":"ready","bdf":...,"mac":...}
  {"event":"stats","frames":...,"queues":[{"frames":...,"bytes":...},...]}

Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

async function count(bdf: string, queues: number, seconds: number | undefined): Promise<void> {
  const stop = listenForStop(seconds);
  const workers = await QueueWorkers.open(bdf, queues);
  let failure: Error | undefined;
  workers.onEnd = (queue, error) => {
    failure = error ?? new Error(`the worker of queue ${queue} has ended`);
    stop.stop();
  };
  try {
    const { port } = workers;
    port.filters.setPromiscuity('all');
    emit('ready', { bdf: port.device.bdf, mac: formatMac(port.mac) });
    await stop.stopped;
    if (failure) throw failure;
    const counts = await Promise.all(Array.from({ length: queues }, (_, n) => workers.counts(n)));
    const each = counts.map((c) => ({ frames: c?.frames ?? 0, bytes: c?.bytes ?? 0 }));
    emit('stats', { frames: each.reduce((sum, { frames }) => sum + frames, 0), queues: each });
  } finally {
    stop.release();
    await workers.close();
  }
}

async function main(options: OptionValues, positionals: string[]): Promise<void> {
  const [bdf, ...rest] = positionals;
  if (bdf === undefined || rest.length > 0) throw new UsageError('expected one argument, BDF');
  const queues = parseCount('queues', options.queues, 1) ?? 2;
  if (queues > MAX_QUEUES) throw new UsageError(`--queues ${queues}: at most ${MAX_QUEUES}`);
  await count(bdf, queues, parseCount('seconds', options.seconds, 1));
}

const string = { type: 'string' } as const;
void runProgram(
  { name: 'count', usage: USAGE, options: { queues: string, seconds: string } },
  main,
);
