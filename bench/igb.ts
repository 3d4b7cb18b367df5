/** The rows of the igb driver; bench/c/igb.c has the same in C. */
import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { openAddressSpace } from 'vfio';
import { BURST, Forwarder } from '../examples/igb/forwarder';
import type { PacketPool } from '../examples/igb/packet-pool';
import { IgbPort } from '../examples/igb/port';
import type { Measurement } from './answer';
import { collectGarbage } from './garbage';
import { rate } from './rate';

const RING = 1024;
const BUFFERS = 4608;
/** And four of FCS. */
const FRAME_BYTES = 60;
const IN_FLIGHT = 2 * BURST;
const LINK_MS = 10_000;

/** Frames in all buffers, so that they are only to be sent. */
export function makeFrames({ buffers, info }: PacketPool): void {
  for (const { u8 } of buffers.buffers) {
    u8.fill(0xff, 0, 6);
    u8.fill(0x02, 6, 12);
    u8.fill(0x88, 12, 14);
  }
  info.fill(FRAME_BYTES);
}

/** Sends what stands in the buffers, a burst at a time. */
export class Sender {
  private readonly ids = new Uint32Array(BURST);

  constructor(
    private readonly pool: PacketPool,
    private readonly tx: {
      readonly pending: number;
      txBurst(ids: Uint32Array, count: number): number;
    },
  ) {}

  send(count: number): void {
    const { ids, pool, tx } = this;
    for (let sent = 0; sent < count; ) {
      const made = pool.buffers.takeIndices(ids, 0, BURST);
      const done = tx.txBurst(ids, made);
      if (done < made) pool.buffers.giveIndices(ids, done, made - done);
      sent += done;
    }
    while (tx.pending > 0);
  }
}

/** Frames a second. */
export async function transmitRate(bdf: string, count: number): Promise<Measurement> {
  const port = await IgbPort.open(bdf, { rxCount: RING, txCount: RING, pool: { count: BUFFERS } });
  const { pool, tx } = port.queues[0]!;
  makeFrames(pool);
  await port.waitForLink(LINK_MS);
  const sender = new Sender(pool, tx);
  return { measure: () => rate(count, (n) => sender.send(n)), end: () => port.close() };
}

interface Forwarding {
  readonly forwarder: Forwarder;
  close(): Promise<void>;
}

/** Two ports that are wired to each other, with frames going round for ever. */
async function startForwarding([first, second]: readonly [string, string]): Promise<Forwarding> {
  const addressSpace = openAddressSpace();
  const rings = { addressSpace, rxCount: RING, txCount: RING };
  const a = await IgbPort.open(first, { ...rings, pool: { count: BUFFERS } });
  const { pool } = a.queues[0]!;
  const b = await IgbPort.open(second, { ...rings, pool });
  makeFrames(pool);
  for (const port of [a, b]) {
    port.filters.setPromiscuity('all');
    await port.waitForLink(LINK_MS);
  }
  for (const port of [a, b]) new Sender(pool, port.queues[0]!.tx).send(IN_FLIGHT);
  return {
    forwarder: new Forwarder(pool, a.queues[0]!, b.queues[0]!),
    close: async () => {
      await b.close();
      await a.close();
      await addressSpace.close();
    },
  };
}

/** At least `count` frames. */
export function forwardFrames(forwarder: Forwarder, count: number): void {
  for (let done = 0; done < count; ) done += forwarder.poll();
  if (forwarder.dropped > 0) throw new Error(`${forwarder.dropped} frames found a ring full`);
}

export async function forwardRate(
  bdfs: readonly [string, string],
  count: number,
): Promise<Measurement> {
  const { forwarder, close } = await startForwarding(bdfs);
  return { measure: () => rate(count, (n) => forwardFrames(forwarder, n)), end: close };
}

/** The longest pause, in ms, for a collection of garbage while frames are forwarded for `seconds`. */
async function longestPause(forwarder: Forwarder, seconds: number): Promise<number> {
  collectGarbage();
  let longest = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
  });
  observer.observe({ entryTypes: ['gc'] });
  const end = performance.now() + seconds * 1e3;
  while (performance.now() < end) {
    forwardFrames(forwarder, 4096);
    await turn();
  }
  observer.disconnect();
  return longest;
}

export async function forwardGcPause(
  bdfs: readonly [string, string],
  seconds: number,
): Promise<Measurement> {
  const { forwarder, close } = await startForwarding(bdfs);
  return {
    warm: () => forwardFrames(forwarder, 4096),
    measure: () => longestPause(forwarder, seconds),
    end: close,
  };
}
