/** Program: pass frames from one port to another and back. */
import { openAddressSpace } from 'vfio';
import {
  emit,
  listenForStop,
  type OptionValues,
  parseCount,
  runProgram,
  UsageError,
} from '../program';
import { Forwarder } from './forwarder';
import { formatMac } from './mac';
import { bufferBytesFor } from './packet-pool';
import { pollUntil } from './polling';
import { IgbPort } from './port';
import { MAX_JUMBO_FRAME } from './registers';

const FCS = 4;
const MAX_FRAME = MAX_JUMBO_FRAME - FCS;
const LINK_MS = 5000;
const TX_COUNT = 1024;
/** For four rings, and a burst. */
const BUFFERS = 4 * TX_COUNT + 64;

const USAGE = `Usage: node forward.js BDF BDF [options]

Layer 2 forwarding: whatever comes in on one port of an Intel 82576 (igb) goes out on the other, by
polling, unchanged. Both must be bound to vfio-pci and have no VFs.

  --max-frame N  longest frame, without FCS, up to ${MAX_FRAME} (default: 1518)
  --seconds S    end after S seconds; without it, at SIGINT or SIGTERM
  -h, --help     show this

Prints one JSON object a line:
  {"event":"ready","bdf":[...],"mac":[...]}    both ports have link
  {"event":"stats","forwarded":...,"dropped":...,"errors":...,"seconds":...}

Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

interface ForwardArguments {
  bdfs: readonly [string, string];
  maxFrame: number;
  seconds: number | undefined;
}

function parseArguments(options: OptionValues, positionals: string[]): ForwardArguments {
  const [a, b, ...rest] = positionals;
  if (a === undefined || b === undefined || rest.length > 0) {
    throw new UsageError('expected two arguments, the BDFs of two ports');
  }
  if (a === b) throw new UsageError(`${a} twice: forwarding takes two ports`);
  const maxFrame = parseCount('max-frame', options['max-frame'], 60) ?? 1518;
  if (maxFrame > MAX_FRAME) throw new UsageError(`--max-frame ${maxFrame}: at most ${MAX_FRAME}`);
  return { bdfs: [a, b], maxFrame, seconds: parseCount('seconds', options.seconds, 1) };
}

async function forward({ bdfs, maxFrame, seconds }: ForwardArguments): Promise<void> {
  const stop = listenForStop(seconds);
  // One address space, so that a buffer that one port has filled is the other's to send.
  const addressSpace = openAddressSpace();
  const ports: IgbPort[] = [];
  const open = async (
    bdf: string,
    pool: NonNullable<Parameters<typeof IgbPort.open>[1]>['pool'],
  ) => {
    const port = await IgbPort.open(bdf, { addressSpace, txCount: TX_COUNT, pool });
    ports.push(port);
    return port;
  };
  try {
    const a = await open(bdfs[0], { count: BUFFERS, bufferBytes: bufferBytesFor(maxFrame) });
    const [aQueues] = a.queues;
    const b = await open(bdfs[1], aQueues!.pool);
    const [bQueues] = b.queues;
    for (const port of ports) {
      port.filters.setPromiscuity('all');
      await port.waitForLink(LINK_MS, stop.signal);
    }
    emit('ready', { bdf: bdfs, mac: ports.map(({ mac }) => formatMac(mac)) });
    const forwarder = new Forwarder(aQueues!.pool, aQueues!, bQueues!);
    const start = performance.now();
    await pollUntil(stop.signal, () => {
      forwarder.poll();
      return true;
    });
    emit('stats', {
      forwarded: forwarder.forwarded,
      dropped: forwarder.dropped,
      errors: aQueues!.rx.errors + bQueues!.rx.errors,
      seconds: Number(((performance.now() - start) / 1000).toFixed(3)),
    });
  } finally {
    stop.release();
    for (const port of ports) await port.close();
    await addressSpace.close();
  }
}

const string = { type: 'string' } as const;
const options = { 'max-frame': string, seconds: string };

void runProgram({ name: 'forward', usage: USAGE, options }, (values, positionals) =>
  forward(parseArguments(values, positionals)),
);
