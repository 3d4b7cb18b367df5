/** Program: drive a PF and serve its VFs. */
import { emit, listenForStop, parseCount, runProgram, type Stop, UsageError } from '../program';
import { MAX_VFS } from './filters';
import { formatMac, type Mac, parseMac } from './mac';
import { PfDriver } from './pf-driver';
import { Traffic, type TrafficCounts } from './traffic';

const USAGE = `Usage: node pf.js BDF --vf-token UUID [options]

Drive the PF of an Intel 82576 (igb) and serve the mailboxes of its VFs: those that exist and those
that are created later. The PF must be bound to vfio-pci (loaded with enable_sriov=1 for --vfs).

  --vf-token UUID  the token that openers of its VFs have to show
  --vfs N          have N VFs, 0 to ${MAX_VFS}; without it, those that exist. They stay when the program ends
  --tx N           send N test frames (64 bytes, EtherType 0x88b5)
  --to MAC         to this address; without it, to the first VF that comes up
  --expect N       exit with 1 if fewer than N good test frames came
  --seconds S      end after S seconds; without it, at SIGINT or SIGTERM
  -h, --help       show this

Prints one JSON object a line:
  {"event":"ready","bdf":...,"mac":...,"vfs":[...]}      addresses of the VFs, in their order
  {"event":"link","up":true}
  {"event":"mailbox","vf":0,"request":"reset","accepted":true}
  {"event":"sent","tx":...}                              the frames of --tx are out
  {"event":"received","rx":...}                          the frames of --expect are in
  {"event":"stats","rx":...,"tx":...,"bad":...,"lost":...}

Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

interface PfArguments {
  bdf: string;
  vfToken: string;
  vfs: number | undefined;
  tx: number;
  to: Mac | undefined;
  expect: number;
  seconds: number | undefined;
}

function parseArguments(
  options: Readonly<Record<string, string | undefined>>,
  positionals: string[],
): PfArguments {
  const [bdf, ...rest] = positionals;
  if (bdf === undefined || rest.length > 0) throw new UsageError('expected one argument, BDF');
  const vfToken = options['vf-token'];
  if (vfToken === undefined) throw new UsageError('--vf-token is required');
  const vfs = parseCount('vfs', options.vfs);
  if (vfs !== undefined && vfs > MAX_VFS) throw new UsageError(`--vfs ${vfs}: at most ${MAX_VFS}`);
  const to = options.to === undefined ? undefined : parseMac(options.to);
  if (options.to !== undefined && !to) throw new UsageError(`--to ${options.to}: not an address`);
  return {
    bdf,
    vfToken,
    vfs,
    tx: parseCount('tx', options.tx) ?? 0,
    to,
    expect: parseCount('expect', options.expect) ?? 0,
    seconds: parseCount('seconds', options.seconds, 1),
  };
}

async function run(args: PfArguments): Promise<void> {
  const stop = listenForStop(args.seconds);
  try {
    const { rx, tx, bad, lost } = await serve(args, stop);
    emit('stats', { rx, tx, bad, lost });
    if (rx < args.expect || tx < args.tx) process.exitCode = 1;
  } finally {
    stop.release();
  }
}

/** Have the PF open until `stop`. */
async function serve(args: PfArguments, stop: Stop): Promise<TrafficCounts> {
  const firstVf = deferred<number>();
  const { bdf, vfToken } = args;
  const driver = await PfDriver.open(
    bdf,
    { vfToken },
    {
      onLink: (up) => emit('link', { up }),
      onMailbox: (vf, request, accepted, details) => {
        emit('mailbox', { vf, request, accepted, ...details });
        if (request === 'reset' && accepted) firstVf.resolve(vf);
      },
    },
  );
  const traffic = new Traffic(driver);
  try {
    const { sriov } = driver.device;
    const vfs = args.vfs === undefined ? sriov.vfs() : await sriov.setNumVfs(args.vfs);
    emit('ready', { bdf: driver.device.bdf, mac: formatMac(driver.mac), vfs });
    reportExpected(traffic, args.expect);
    if (args.tx > 0) {
      const vf = args.to ? undefined : await Promise.race([firstVf.promise, stop.stopped]);
      const to = args.to ?? (vf === undefined ? undefined : driver.vfAddress(vf));
      if (to) await traffic.send(args.tx, to, stop.signal);
      emit('sent', { tx: traffic.counts.tx });
    }
    await stop.stopped;
    traffic.receive();
    return traffic.counts;
  } finally {
    traffic.close();
    await driver.close();
  }
}

function reportExpected(traffic: Traffic, expected: number): void {
  if (expected === 0) return;
  traffic.onReceive = () => {
    if (traffic.counts.rx < expected) return;
    traffic.onReceive = () => {};
    emit('received', { rx: traffic.counts.rx });
  };
}

function deferred<T>(): { promise: Promise<T>; resolve(value: T): void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

const options = {
  'vf-token': { type: 'string' },
  vfs: { type: 'string' },
  tx: { type: 'string' },
  to: { type: 'string' },
  expect: { type: 'string' },
  seconds: { type: 'string' },
} as const;

void runProgram({ name: 'pf', usage: USAGE, options }, (values, positionals) =>
  run(parseArguments(values, positionals)),
);
