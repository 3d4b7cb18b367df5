/** Program: write the frames that a port receives to a file for Wireshark. */
import {
  emit,
  listenForStop,
  type OptionValues,
  parseCount,
  runProgram,
  type Stop,
  UsageError,
} from '../program';
import { formatMac } from './mac';
import { bufferBytesFor } from './packet-pool';
import { PcapngWriter } from './pcapng';
import { IgbPort } from './port';
import { MAX_JUMBO_FRAME } from './registers';

const FCS = 4;
const MAX_FRAME = MAX_JUMBO_FRAME - FCS;
const RX_COUNT = 4096;
/** For both rings, and a burst. */
const BUFFERS = RX_COUNT + 512;
const BURST = 256;
/** How long frames may stay in memory. */
const FLUSH_MS = 500;

const USAGE = `Usage: node capture.js BDF FILE [options]

Write what a port of an Intel 82576 (igb) receives to FILE, in pcapng, by interrupts. The port is
promiscuous; VLAN tags are as on the wire. BDF must be bound to vfio-pci and have no VFs.

  --count N      end after N frames
  --seconds S    end after S seconds; without both, at SIGINT or SIGTERM
  --snaplen N    bytes of a frame to keep, without FCS (default: 262144, all)
  --max-frame N  longest frame, without FCS, up to ${MAX_FRAME} (default: 1518)
  -h, --help     show this

Prints one JSON object a line:
  {"event":"ready","bdf":...,"mac":...}    frames that come from now on are captured
  {"event":"stats","frames":...,"errors":...,"dropped":...}

Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

interface CaptureArguments {
  bdf: string;
  file: string;
  count: number;
  seconds: number | undefined;
  snapLength: number;
  maxFrame: number;
}

function parseArguments(options: OptionValues, positionals: string[]): CaptureArguments {
  const [bdf, file, ...rest] = positionals;
  if (bdf === undefined || file === undefined || rest.length > 0) {
    throw new UsageError('expected two arguments, BDF and FILE');
  }
  const maxFrame = parseCount('max-frame', options['max-frame'], 60) ?? 1518;
  if (maxFrame > MAX_FRAME) throw new UsageError(`--max-frame ${maxFrame}: at most ${MAX_FRAME}`);
  return {
    bdf,
    file,
    count: parseCount('count', options.count, 1) ?? Number.POSITIVE_INFINITY,
    seconds: parseCount('seconds', options.seconds, 1),
    snapLength: parseCount('snaplen', options.snaplen, 1) ?? 262_144,
    maxFrame,
  };
}

async function capture(args: CaptureArguments): Promise<void> {
  const stop = listenForStop(args.seconds);
  const pool = { count: BUFFERS, bufferBytes: bufferBytesFor(args.maxFrame) };
  const port = await IgbPort.open(args.bdf, { rxCount: RX_COUNT, pool });
  try {
    const writer = new PcapngWriter(args.file, `igb ${port.device.bdf}`, args.snapLength);
    try {
      await captureUntil(stop, port, writer, args.count);
    } finally {
      const { packets: frames, errors } = port.queues[0]!.rx;
      const { rxDropped, rxMissed } = port.statistics();
      const dropped = rxDropped + rxMissed;
      writer.close({ received: frames, dropped });
      emit('stats', { frames, errors, dropped });
    }
  } finally {
    stop.release();
    await port.close();
  }
}

/** @throws what writing the file throws */
async function captureUntil(
  stop: Stop,
  port: IgbPort,
  writer: PcapngWriter,
  count: number,
): Promise<void> {
  const drain = drainer(port, writer, count, stop);
  let failure: unknown;
  const guarded = (action: () => void) => () => {
    try {
      if (!stop.signal.aborted) action();
    } catch (error) {
      failure = error;
      stop.stop();
    }
  };
  await port.listen(guarded(drain));
  port.filters.setPromiscuity('all');
  emit('ready', { bdf: port.device.bdf, mac: formatMac(port.mac) });
  const flush = setInterval(
    guarded(() => writer.flush()),
    FLUSH_MS,
  );
  await stop.stopped;
  clearInterval(flush);
  if (failure !== undefined) throw failure;
  drain();
}

/** Takes what has come to `writer`, up to `count` frames in all; then there is nothing left to do. */
function drainer(port: IgbPort, writer: PcapngWriter, count: number, stop: Stop): () => void {
  const { rx, pool } = port.queues[0]!;
  const ids = new Uint32Array(BURST);
  return () => {
    for (;;) {
      const wanted = Math.min(BURST, count - rx.packets);
      const received = wanted > 0 ? rx.rxBurst(ids, wanted) : 0;
      for (let i = 0; i < received; i++) {
        const id = ids[i]!;
        writer.write(pool.bytes(id), pool.length(id), pool.vlan(id));
      }
      pool.buffers.giveIndices(ids, 0, received);
      if (rx.packets >= count) stop.stop();
      if (received < wanted || wanted <= 0) return;
    }
  };
}

const string = { type: 'string' } as const;
const options = { count: string, seconds: string, snaplen: string, 'max-frame': string };

void runProgram({ name: 'capture', usage: USAGE, options }, (values, positionals) =>
  capture(parseArguments(values, positionals)),
);
