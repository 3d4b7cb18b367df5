/** Program: drive a VF, send and receive test frames. */
import { emit, listenForStop, parseCount, runProgram, type Stop, UsageError } from '../program';
import { BROADCAST, formatMac, type Mac, parseMac } from './mac';
import { Traffic, type TrafficCounts } from './traffic';
import { VfDriver } from './vf-driver';

const DEFAULT_SECONDS = 60;

const USAGE = `Usage: node vf.js BDF [--vf-token UUID] [options]

Drive a VF of an Intel 82576 (igb), whatever drives its PF. The VF must be bound to vfio-pci.

  --vf-token UUID  the PF's token; for a PF under vfio-pci only
  --tx N           send N test frames (64 bytes, EtherType 0x88b5)
  --to MAC         to this address; without it, broadcast
  --expect N       end when N good test frames have come (and --tx is done); exit with 1 if they do not come
  --seconds S      end after S seconds; without it, when --tx and --expect are done (at most
                   ${DEFAULT_SECONDS} seconds), or, with neither, at SIGINT or SIGTERM
  -h, --help       show this

Prints one JSON object a line:
  {"event":"ready","bdf":...,"mac":...}        the address is the one that the PF gave
  {"event":"sent","tx":...}                    the frames of --tx are out
  {"event":"reset","mac":...}                  the PF has been reset, and the VF is up again
  {"event":"stats","tx":...,"rx":...,"bad":...,"lost":...}

Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

interface VfArguments {
  bdf: string;
  vfToken: string | undefined;
  tx: number;
  to: Mac;
  expect: number | undefined;
  seconds: number | undefined;
}

function parseArguments(
  options: Readonly<Record<string, string | undefined>>,
  positionals: string[],
): VfArguments {
  const [bdf, ...rest] = positionals;
  if (bdf === undefined || rest.length > 0) throw new UsageError('expected one argument, BDF');
  const to = options.to === undefined ? BROADCAST : parseMac(options.to);
  if (!to) throw new UsageError(`--to ${options.to}: not an address`);
  return {
    bdf,
    vfToken: options['vf-token'],
    tx: parseCount('tx', options.tx) ?? 0,
    to,
    expect: parseCount('expect', options.expect),
    seconds: parseCount('seconds', options.seconds, 1),
  };
}

async function run(args: VfArguments): Promise<void> {
  const isBounded = args.tx > 0 || args.expect !== undefined;
  const stop = listenForStop(args.seconds ?? (isBounded ? DEFAULT_SECONDS : undefined));
  try {
    const { tx, rx, bad, lost } = await exchange(args, stop);
    emit('stats', { tx, rx, bad, lost });
    if (rx < (args.expect ?? 0) || tx < args.tx) process.exitCode = 1;
  } finally {
    stop.release();
  }
}

/** Have the VF open until all is sent and received, or `stop`. */
async function exchange(args: VfArguments, stop: Stop): Promise<TrafficCounts> {
  const vfToken = args.vfToken === undefined ? {} : { vfToken: args.vfToken };
  const driver = await VfDriver.open(args.bdf, vfToken);
  const traffic = new Traffic(driver);
  let failure: unknown;
  driver.onReset = () => emit('reset', { mac: formatMac(driver.mac) });
  driver.onFailure = (error) => {
    failure = error;
    stop.stop();
  };
  try {
    emit('ready', { bdf: driver.device.bdf, mac: formatMac(driver.mac) });
    const received = expected(traffic, args.expect ?? 0);
    if (args.tx > 0) {
      await traffic.send(args.tx, args.to, stop.signal);
      emit('sent', { tx: traffic.counts.tx });
    }
    // With nothing but --seconds to end it, the VF goes on receiving after it has sent.
    const hasGoal = args.expect !== undefined || (args.tx > 0 && args.seconds === undefined);
    await (hasGoal ? Promise.race([received, stop.stopped]) : stop.stopped);
    if (failure !== undefined) throw failure;
    traffic.receive();
    return traffic.counts;
  } finally {
    traffic.close();
    await driver.close();
  }
}

function expected(traffic: Traffic, count: number): Promise<void> {
  return new Promise((resolve) => {
    traffic.onReceive = () => {
      if (traffic.counts.rx >= count) resolve();
    };
    traffic.onReceive();
  });
}

const options = {
  'vf-token': { type: 'string' },
  tx: { type: 'string' },
  to: { type: 'string' },
  expect: { type: 'string' },
  seconds: { type: 'string' },
} as const;

void runProgram({ name: 'vf', usage: USAGE, options }, (values, positionals) =>
  run(parseArguments(values, positionals)),
);
