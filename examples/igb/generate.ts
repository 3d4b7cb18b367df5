/** Program: send frames as fast as the port takes them, or at a rate. */
import {
  emit,
  listenForStop,
  type OptionValues,
  parseCount,
  runProgram,
  UsageError,
} from '../program';
import { Generator } from './generator';
import { BROADCAST, formatMac, type Mac, parseMac } from './mac';
import { bufferBytesFor } from './packet-pool';
import { pollUntil } from './polling';
import { IgbPort } from './port';
import { MIN_UDP_FRAME, UdpTemplate } from './udp-frame';

const LINK_MS = 5000;
/** For both rings, and a burst. */
const BUFFERS = 512;
const MAX_BYTES = 9018 - 4;
const MAX_FLOWS = 65_536;

const USAGE = `Usage: node generate.js BDF [options]

Send UDP frames from a port of an Intel 82576 (igb), by polling. BDF must be bound to vfio-pci and
have no VFs.

  --count N    frames; without it, until SIGINT or SIGTERM, or for --seconds
  --seconds S  stop after S seconds
  --bytes N    of a frame, without FCS: ${MIN_UDP_FRAME} to ${MAX_BYTES} (default: ${MIN_UDP_FRAME})
  --flows N    UDP flows, each from an address of its own, 1 to ${MAX_FLOWS} (default: 1)
  --rate N     frames a second, at most (default: as many as the port takes)
  --to MAC     destination (default: broadcast)
  --vlan N     with the tag of this VLAN, 1 to 4094, inserted by the port
  -h, --help   show this

Bytes 44 to 47 of a frame are its number, in network order, from 0; flow n is from 10.1.0.0 + n.
Prints one JSON object a line:
  {"event":"ready","bdf":...,"mac":...}
  {"event":"stats","frames":...,"bytes":...,"seconds":...,"framesPerSecond":...}

Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

interface GenerateArguments {
  bdf: string;
  count: number;
  seconds: number | undefined;
  bytes: number;
  flows: number;
  rate: number | undefined;
  to: Mac;
  vlan: number;
}

function parseArguments(options: OptionValues, positionals: string[]): GenerateArguments {
  const [bdf, ...rest] = positionals;
  if (bdf === undefined || rest.length > 0) throw new UsageError('expected one argument, BDF');
  const to = options.to === undefined ? BROADCAST : parseMac(options.to);
  if (!to) throw new UsageError(`--to ${options.to}: not an address`);
  return {
    bdf,
    count: parseCount('count', options.count, 1) ?? Number.POSITIVE_INFINITY,
    seconds: parseCount('seconds', options.seconds, 1),
    bytes: between('bytes', options.bytes, MIN_UDP_FRAME, MAX_BYTES) ?? MIN_UDP_FRAME,
    flows: between('flows', options.flows, 1, MAX_FLOWS) ?? 1,
    rate: parseCount('rate', options.rate, 1),
    to,
    vlan: between('vlan', options.vlan, 1, 4094) ?? 0,
  };
}

function between(name: string, text: string | undefined, min: number, max: number) {
  const value = parseCount(name, text, min);
  if (value !== undefined && value > max) throw new UsageError(`--${name} ${text}: at most ${max}`);
  return value;
}

async function generate(args: GenerateArguments): Promise<void> {
  const stop = listenForStop(args.seconds);
  const bufferBytes = bufferBytesFor(args.bytes);
  const port = await IgbPort.open(args.bdf, { rxCount: 8, pool: { count: BUFFERS, bufferBytes } });
  try {
    emit('ready', { bdf: port.device.bdf, mac: formatMac(port.mac) });
    await port.waitForLink(LINK_MS, stop.signal);
    const { pool, tx } = port.queues[0]!;
    const template = new UdpTemplate(port.mac, args.to, args.bytes);
    const generator = new Generator(pool, tx, { ...args, template });
    const start = performance.now();
    const elapsed = () => (performance.now() - start) / 1000;
    const { count, rate } = args;
    await pollUntil(stop.signal, () => {
      generator.poll(rate === undefined ? count : Math.min(count, Math.floor(rate * elapsed())));
      return generator.sent < count;
    });
    await pollUntil(stop.signal, () => tx.pending > 0);
    const seconds = elapsed();
    emit('stats', {
      frames: tx.packets,
      bytes: tx.bytes,
      seconds: Number(seconds.toFixed(3)),
      framesPerSecond: Math.round(tx.packets / seconds),
    });
  } finally {
    stop.release();
    await port.close();
  }
}

const string = { type: 'string' } as const;
const options = {
  count: string,
  seconds: string,
  bytes: string,
  flows: string,
  rate: string,
  to: string,
  vlan: string,
};

void runProgram({ name: 'generate', usage: USAGE, options }, (values, positionals) =>
  generate(parseArguments(values, positionals)),
);
