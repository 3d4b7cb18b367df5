import { BROADCAST, formatMac, type Mac, parseMac } from '../../examples/igb/mac';
import type { FrameSink } from '../../examples/igb/ring';
import { type Port, Traffic } from '../../examples/igb/traffic';

const BUFFER_WORDS = 16;
const TX_SIZE = 64;

/** A port of a switch that, like the 82576's, drops what finds no receive descriptor. */
class FakePort implements Port {
  onActivity: () => void = () => {};
  up = true;
  dropped = 0;
  private readonly received: Uint32Array[] = [];
  private readonly sending: Uint32Array[] = [];
  readonly rx = { reap: (sink: FrameSink, budget: number) => this.reap(sink, budget) };
  readonly tx;

  constructor(
    readonly mac: Mac,
    private readonly ports: FakePort[],
    private readonly rxSize: number,
    /** How long after a frame's arrival the port looks at it. */
    private readonly latencyMs = 0,
  ) {
    ports.push(this);
    const words = new Uint32Array(BUFFER_WORDS);
    const sending = this.sending;
    this.tx = {
      words,
      claim: () => 0,
      push: () => void sending.push(words.slice()),
      kick: () => this.kick(),
      get free() {
        return TX_SIZE - sending.length;
      },
      get pending() {
        return sending.length;
      },
    };
  }

  linkUp(): boolean {
    return this.up;
  }

  private kick(): void {
    for (const frame of this.sending.splice(0)) {
      const to = formatMac(new Uint8Array(frame.buffer, 0, 6));
      for (const port of this.ports) {
        if (to === formatMac(port.mac) || to === formatMac(BROADCAST)) port.arrive(frame);
      }
    }
  }

  private arrive(frame: Uint32Array): void {
    if (this.received.length >= this.rxSize) {
      this.dropped++;
      return;
    }
    this.received.push(frame);
    if (this.received.length === 1) setTimeout(() => this.onActivity(), this.latencyMs);
  }

  private reap(sink: FrameSink, budget: number): number {
    const frames = this.received.splice(0, budget);
    for (const frame of frames) sink.frame(frame, 0, 64);
    return frames.length;
  }
}

const A = parseMac('02:00:00:00:00:0a')!;
const B = parseMac('02:00:00:00:00:0b')!;
const never = new AbortController().signal;

test('nothing is lost to a slow receiver with a ring of little more than one window', async () => {
  const ports: FakePort[] = [];
  const sender = new Traffic(new FakePort(A, ports, 64));
  // A window of 256, and the probes of a second.
  const slow = new FakePort(B, ports, 256 + 50, 15);
  const receiver = new Traffic(slow);
  await sender.send(5000, B, never);
  receiver.receive();
  expect(receiver.counts).toEqual({ tx: 0, rx: 5000, bad: 0, lost: 0 });
  expect(sender.counts).toEqual({ tx: 5000, rx: 0, bad: 0, lost: 0 });
  expect(slow.dropped).toBe(0);
});

test('a sender waits for a receiver that comes late', async () => {
  const ports: FakePort[] = [];
  const sender = new Traffic(new FakePort(A, ports, 64));
  const sent = sender.send(300, B, never);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const receiver = new Traffic(new FakePort(B, ports, 256));
  await sent;
  receiver.receive();
  expect(receiver.counts.rx).toBe(300);
});

test('both directions at once', async () => {
  const ports: FakePort[] = [];
  const a = new Traffic(new FakePort(A, ports, 1024));
  const b = new Traffic(new FakePort(B, ports, 1024));
  await Promise.all([a.send(1000, B, never), b.send(1000, A, never)]);
  a.receive();
  b.receive();
  expect(a.counts).toEqual({ tx: 1000, rx: 1000, bad: 0, lost: 0 });
  expect(b.counts).toEqual({ tx: 1000, rx: 1000, bad: 0, lost: 0 });
});

test('a receiver that gives no credit gets all frames, and exactly those', async () => {
  const ports: FakePort[] = [];
  const sender = new Traffic(new FakePort(A, ports, 64));
  const foreign = new FakePort(B, ports, Number.POSITIVE_INFINITY);
  await sender.send(200, B, never);
  const types: number[] = [];
  foreign.rx.reap({ frame: (words) => types.push(words[3]!) }, 1000);
  expect(types.filter((type) => type === 0xb588)).toHaveLength(200);
});

test('a broadcast does not count for its sender', async () => {
  const ports: FakePort[] = [];
  const sender = new Traffic(new FakePort(A, ports, 64));
  const receiver = new Traffic(new FakePort(B, ports, 64));
  await sender.send(100, BROADCAST, never);
  sender.receive();
  receiver.receive();
  expect(sender.counts).toEqual({ tx: 100, rx: 0, bad: 0, lost: 0 });
  expect(receiver.counts.rx).toBe(100);
});

test('what is lost all the same is counted', async () => {
  const ports: FakePort[] = [];
  const sender = new Traffic(new FakePort(A, ports, 64));
  const tiny = new FakePort(B, ports, 8, 15);
  const receiver = new Traffic(tiny);
  await sender.send(400, B, never);
  receiver.receive();
  expect(receiver.counts.rx + receiver.counts.lost).toBeLessThanOrEqual(400);
  expect(receiver.counts.lost).toBeGreaterThan(0);
}, 15_000);

test('without link nothing is sent, and a stop ends the wait', async () => {
  const ports: FakePort[] = [];
  const port = new FakePort(A, ports, 64);
  port.up = false;
  const sender = new Traffic(port);
  await sender.send(10, B, AbortSignal.timeout(100));
  expect(sender.counts.tx).toBe(0);
});
