import { BROADCAST, formatMac, type Mac, parseMac } from '../../examples/igb/mac';
import { type Port, Traffic } from '../../examples/igb/traffic';

const BUFFER_WORDS = 16;
const TX_SIZE = 24;
const POOL_SIZE = 512;

/** Buffers without a device. */
class FakePool {
  private readonly lengths = new Uint16Array(POOL_SIZE);
  private readonly buffers = Array.from(this.lengths, () => new Uint32Array(BUFFER_WORDS));
  private readonly free = Array.from(this.lengths, (_, id) => id);

  take(length: number): number {
    const id = this.free.pop() ?? -1;
    if (id >= 0) this.lengths[id] = length;
    return id;
  }

  length(id: number): number {
    return this.lengths[id]!;
  }

  give(id: number): void {
    this.free.push(id);
  }

  words(id: number): Uint32Array {
    return this.buffers[id]!;
  }
}

/** A port of a switch that, like the 82576's, drops what finds no receive descriptor. */
class FakePort implements Port {
  onActivity: () => void = () => {};
  up = true;
  dropped = 0;
  readonly pool = new FakePool();
  readonly tx = { pending: 0, txBurst: (ids: Uint32Array, count: number) => this.send(ids, count) };
  readonly rx = { rxBurst: (ids: Uint32Array, max: number) => this.reap(ids, max) };
  private readonly received: Uint32Array[] = [];

  constructor(
    readonly mac: Mac,
    private readonly ports: FakePort[],
    private readonly rxSize: number,
    /** How long after a frame's arrival the port looks at it. */
    private readonly latencyMs = 0,
  ) {
    ports.push(this);
  }

  linkUp(): boolean {
    return this.up;
  }

  /** The frames that arrived, each once. */
  frames(): Uint32Array[] {
    return this.received.splice(0);
  }

  private send(ids: Uint32Array, wanted: number): number {
    const count = Math.min(wanted, TX_SIZE);
    for (const id of ids.slice(0, count)) {
      const frame = this.pool.words(id).slice();
      this.pool.give(id);
      const to = formatMac(new Uint8Array(frame.buffer, 0, 6));
      for (const port of this.ports) {
        if (to === formatMac(port.mac) || to === formatMac(BROADCAST)) port.arrive(frame);
      }
    }
    return count;
  }

  private arrive(frame: Uint32Array): void {
    if (this.received.length >= this.rxSize) {
      this.dropped++;
      return;
    }
    this.received.push(frame);
    if (this.received.length === 1) setTimeout(() => this.onActivity(), this.latencyMs);
  }

  private reap(ids: Uint32Array, max: number): number {
    const frames = this.received.splice(0, max);
    frames.forEach((frame, i) => {
      const id = this.pool.take(64);
      this.pool.words(id).set(frame);
      ids[i] = id;
    });
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
  const types = foreign.frames().map((words) => words[3]);
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
