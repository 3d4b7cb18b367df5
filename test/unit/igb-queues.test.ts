jest.mock('../../src/native', () => ({ native: {} }));

import type { PacketPool } from '../../examples/igb/packet-pool';
import { type Frame, SoftwareIgb } from './igb-software';

const RINGS = { rxCount: 8, txCount: 8 };
const ids = new Uint32Array(64);

const frame = (n: number, length = 60, vlan = 0): Frame => ({
  bytes: Uint8Array.from({ length }, (_, i) => n + i),
  vlan,
});

async function setUp(count = 32, bufferBytes = 2048) {
  const igb = new SoftwareIgb();
  return { igb, ...(await igb.queues(count, bufferBytes, RINGS)) };
}

function contents(pool: PacketPool, count: number): Frame[] {
  return Array.from(ids.subarray(0, count), (id) => ({
    bytes: pool.bytes(id).slice(0, pool.length(id)),
    vlan: pool.vlan(id),
  }));
}

function giveAll(pool: PacketPool, count: number): void {
  pool.buffers.giveIndices(ids, 0, count);
}

function load(pool: PacketPool, frames: readonly Frame[]): void {
  frames.forEach(({ bytes, vlan }, i) => {
    const id = pool.take(bytes.length);
    pool.bytes(id).set(bytes);
    pool.setFrame(id, bytes.length, vlan);
    ids[i] = id;
  });
}

describe('receive', () => {
  test('the queue starts with buffers in all places but one', async () => {
    const { igb, pool } = await setUp();
    expect(igb.get(igb.rx.RDLEN)).toBe(128);
    expect(igb.get(igb.rx.RDT)).toBe(7);
    expect(igb.get(igb.rx.SRRCTL) & 0x7f).toBe(2);
    expect(igb.get(igb.rx.RXDCTL) & (1 << 25)).not.toBe(0);
    expect(pool.buffers.available).toBe(32 - 7);
  });

  test('frames come in order, up to the burst, with lengths and VLANs; one doorbell a burst', async () => {
    const { igb, rx, pool } = await setUp();
    let n = 0;
    for (let round = 0; round < 10; round++) {
      const frames = [frame(n++), frame(n++, 1522, 0x2064), frame(n++, 61), frame(n++), frame(n++)];
      for (const each of frames) expect(igb.receive(each)).toBe(true);
      igb.doorbells = 0;
      expect(rx.rxBurst(ids, 4)).toBe(4);
      expect(igb.doorbells).toBe(1);
      expect(contents(pool, 4)).toEqual(frames.slice(0, 4));
      giveAll(pool, 4);
      expect(rx.rxBurst(ids, 4)).toBe(1);
      expect(contents(pool, 1)).toEqual(frames.slice(4));
      giveAll(pool, 1);
      igb.doorbells = 0;
      expect(rx.rxBurst(ids, 4)).toBe(0);
      expect(igb.doorbells).toBe(0);
    }
    expect([rx.packets, rx.bytes, rx.errors]).toEqual([50, 10 * (3 * 60 + 1522 + 61), 0]);
    expect(pool.buffers.available).toBe(32 - 7);
  });

  test('an empty pool loses nothing: places are filled once there are buffers again', async () => {
    const { igb, rx, pool } = await setUp(8);
    for (let i = 0; i < 7; i++) igb.receive(frame(i));
    expect(igb.receive(frame(99))).toBe(false);
    expect(rx.rxBurst(ids, 64)).toBe(7);
    expect(pool.buffers.available).toBe(0);
    expect(igb.receive(frame(7))).toBe(true);
    expect(igb.receive(frame(99))).toBe(false);
    giveAll(pool, 7);
    expect(rx.rxBurst(ids, 64)).toBe(1);
    expect(contents(pool, 1)).toEqual([frame(7)]);
    for (let i = 0; i < 7; i++) expect(igb.receive(frame(i))).toBe(true);
  });

  test.each([0, 1, 2, 3, 4, 5])(
    'a bad frame after %p good ones, round and round the ring',
    async (good) => {
      const { igb, rx, pool } = await setUp();
      for (let round = 0; round < 8; round++) {
        const frames = Array.from({ length: 6 }, (_, n) =>
          frame(8 * round + n, 60, n === 4 ? 7 : 0),
        );
        for (const [n, each] of frames.entries()) igb.receive(each, n === good ? (1 << 31) | 2 : 2);
        expect(rx.rxBurst(ids, 64)).toBe(5);
        expect(contents(pool, 5)).toEqual(frames.filter((_, n) => n !== good));
        giveAll(pool, 5);
      }
      expect([rx.packets, rx.errors]).toEqual([40, 8]);
      expect(pool.buffers.available).toBe(32 - 7);
    },
  );

  test('what is not one good frame is dropped and counted, all parts of it', async () => {
    const { igb, rx, pool } = await setUp();
    igb.receive(frame(1, 2048), 0);
    igb.receive(frame(2, 2048), 0);
    igb.receive(frame(3), 2);
    igb.receive(frame(4), (1 << 31) | 2);
    igb.receive(frame(5));
    igb.receive(frame(6, 2048), 0);
    expect(rx.rxBurst(ids, 64)).toBe(1);
    expect(contents(pool, 1)).toEqual([frame(5)]);
    expect(rx.errors).toBe(2);
    expect(pool.buffers.available).toBe(32 - 7 - 1);
    expect(rx.rxBurst(ids, 64)).toBe(0);
    igb.receive(frame(7), 2);
    igb.receive(frame(8));
    expect(rx.rxBurst(ids, 64)).toBe(1);
    expect(contents(pool, 1)).toEqual([frame(8)]);
    expect(rx.errors).toBe(3);
  });

  test('a restart gives all buffers of the ring back first', async () => {
    const { igb, rx, pool } = await setUp();
    igb.receive(frame(1));
    rx.start();
    expect(pool.buffers.available).toBe(32 - 7);
    igb.receive(frame(2));
    expect(rx.rxBurst(ids, 64)).toBe(1);
    expect(contents(pool, 1)).toEqual([frame(2)]);
  });
});

describe('transmit', () => {
  test('one frame less than there are descriptors; buffers come back once the burst is out', async () => {
    const { igb, tx, pool } = await setUp();
    const frames = Array.from({ length: 9 }, (_, i) => frame(i, 60 + i));
    load(pool, frames);
    expect(tx.txBurst(ids, 9)).toBe(7);
    expect(igb.doorbells).toBe(1);
    expect(igb.transmit(6)).toEqual(frames.slice(0, 6));
    expect([tx.pending, tx.free]).toEqual([7, 0]);
    expect(igb.transmit()).toEqual(frames.slice(6, 7));
    expect([tx.pending, tx.free]).toEqual([0, 7]);
    expect(pool.buffers.available).toBe(32 - 7 - 2);
    ids.copyWithin(0, 7, 9);
    expect(tx.txBurst(ids, 2)).toBe(2);
    expect(igb.transmit()).toEqual(frames.slice(7));
    expect([tx.packets, tx.pending]).toEqual([9, 0]);
    expect(pool.buffers.available).toBe(32 - 7);
  });

  test('bursts of all sizes, round and round the ring', async () => {
    const { igb, tx, pool } = await setUp();
    let n = 0;
    for (let round = 0; round < 50; round++) {
      const frames = Array.from({ length: 1 + (round % 7) }, () => frame(n++ & 0xff));
      load(pool, frames);
      expect(tx.txBurst(ids, frames.length)).toBe(frames.length);
      expect(igb.transmit()).toEqual(frames);
    }
    expect(tx.pending).toBe(0);
    expect(pool.buffers.available).toBe(32 - 7);
  });

  test('a VLAN is inserted; its context is written only when it changes', async () => {
    const { igb, tx, pool } = await setUp();
    const frames = [frame(1, 60, 5), frame(2), frame(3, 60, 5), frame(4, 60, 6)];
    load(pool, frames);
    expect(tx.txBurst(ids, 4)).toBe(4);
    expect(tx.free).toBe(1);
    expect(igb.transmit()).toEqual(frames);
    load(pool, [frame(5, 60, 6)]);
    tx.txBurst(ids, 1);
    expect(tx.free).toBe(6);
    expect(igb.transmit()).toEqual([frame(5, 60, 6)]);
  });

  test('a context is not written without room for its frame', async () => {
    const { igb, tx, pool } = await setUp();
    const frames = [1, 2, 3, 4, 5, 6].map((n) => frame(n));
    load(pool, [...frames, frame(7, 60, 9)]);
    expect(tx.txBurst(ids, 7)).toBe(6);
    expect(igb.transmit()).toEqual(frames);
    ids[0] = ids[6]!;
    expect(tx.txBurst(ids, 1)).toBe(1);
    expect(igb.transmit()).toEqual([frame(7, 60, 9)]);
  });

  test.each([0, 2049])('a frame of %p bytes ends the burst, and is refused', async (length) => {
    const { igb, tx, pool } = await setUp();
    load(pool, [frame(1), frame(2, 60, 7), frame(3)]);
    pool.setFrame(ids[2]!, length);
    expect(tx.txBurst(ids, 3)).toBe(2);
    expect(igb.transmit()).toEqual([frame(1), frame(2, 60, 7)]);
    expect(() => tx.txBurst(ids.subarray(2), 1)).toThrow(/has a frame of/);
    ids[2] = 77;
    expect(() => tx.txBurst(ids.subarray(2), 1)).toThrow(/buffer 77/);
    expect([igb.transmit(), tx.pending, tx.txBurst(ids, 0)]).toEqual([[], 0, 0]);
    load(pool, [frame(4, 60, 7)]);
    expect(tx.txBurst(ids, 1)).toBe(1);
    expect(igb.transmit()).toEqual([frame(4, 60, 7)]);
  });

  test('a buffer that is on its way, or in the pool, ends the burst and is refused at its head', async () => {
    const { igb, tx, pool } = await setUp();
    load(pool, [frame(1), frame(2), frame(3, 60, 7)]);
    ids[3] = ids[0]!;
    expect(tx.txBurst(ids, 4)).toBe(3);
    expect(() => tx.txBurst(ids, 1)).toThrow(/is not the caller's/);
    expect(() => tx.txBurst(ids.subarray(2), 1)).toThrow(/is not the caller's/);
    expect(igb.transmit()).toEqual([frame(1), frame(2), frame(3, 60, 7)]);
    expect(tx.pending).toBe(0);
    expect(() => tx.txBurst(ids, 1)).toThrow(/is not the caller's/);
    expect(pool.buffers.available).toBe(32 - 7);
  });

  test.each([
    [0, 1],
    [0, 2],
    [0, 3],
    [1, 2],
    [1, 3],
    [2, 3],
  ])('a buffer at %p and again at %p ends the burst there', async (once, again) => {
    const { igb, tx, pool } = await setUp();
    const frames = [frame(1), frame(2), frame(3), frame(4)];
    load(pool, frames);
    const spare = ids[again]!;
    ids[again] = ids[once]!;
    expect(tx.txBurst(ids, 4)).toBe(again);
    ids[again] = spare;
    expect(tx.txBurst(ids.subarray(again), 4 - again)).toBe(4 - again);
    expect(igb.transmit()).toEqual(frames);
    expect(tx.pending).toBe(0);
    expect(pool.buffers.available).toBe(32 - 7);
  });

  test('a restart gives back what was under way', async () => {
    const { igb, tx, pool } = await setUp();
    load(pool, [frame(1), frame(2)]);
    tx.txBurst(ids, 2);
    tx.start();
    expect(pool.buffers.available).toBe(32 - 7);
    load(pool, [frame(3)]);
    tx.txBurst(ids, 1);
    expect(igb.transmit()).toEqual([frame(3)]);
  });
});

test('a jumbo frame is received into one buffer, and sent page by page, also across 4 GiB', async () => {
  const { igb, rx, tx, pool } = await setUp(32, 10240);
  for (let n = 0; n < 40; n++) {
    igb.receive(frame(n, 9018, n & 1));
    expect(rx.rxBurst(ids, 1)).toBe(1);
    expect(tx.txBurst(ids, 1)).toBe(1);
    expect(igb.transmit()).toEqual([frame(n, 9018, n & 1)]);
  }
  expect(tx.pending).toBe(0);
  // Three pages at least, and no part of what does not fit.
  load(pool, [frame(1, 60), frame(2, 9018), frame(3, 9018), frame(4, 60)]);
  const sent = tx.txBurst(ids, 4);
  expect(sent).toBeLessThan(4);
  const all = [frame(1, 60), frame(2, 9018), frame(3, 9018)];
  expect(igb.transmit()).toEqual(all.slice(0, sent));
});

test('rings are powers of two, and buffers whole KiB', async () => {
  const igb = new SoftwareIgb();
  await expect(igb.queues(32, 2048, { rxCount: 100 })).rejects.toThrow('100');
  await expect(igb.queues(32, 2048, { txCount: 4 })).rejects.toThrow('4');
  await expect(igb.queues(32, 1500, {})).rejects.toThrow('1500');
  await expect(igb.queues(32, 11264, {})).rejects.toThrow('11264');
});
