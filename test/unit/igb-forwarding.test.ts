jest.mock('../../src/native', () => ({ native: {} }));

import { Forwarder } from '../../examples/igb/forwarder';
import { Generator } from '../../examples/igb/generator';
import { parseMac } from '../../examples/igb/mac';
import { createQueues } from '../../examples/igb/queue-pair';
import { Pf } from '../../examples/igb/registers';
import { UdpTemplate } from '../../examples/igb/udp-frame';
import { type Frame, QUEUE, SoftwareIgb } from './igb-software';

const SOURCE = parseMac('02:00:00:00:00:0a')!;
const DESTINATION = parseMac('02:00:00:00:00:0b')!;

/** Of the 16-bit words of an IPv4 header, its checksum included: all ones if that is right. */
function headerSum(frame: Uint8Array): number {
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += (frame[at]! << 8) | frame[at + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

test.each([60, 61, 1514])('a UDP frame of %p bytes has a right header for every flow', (bytes) => {
  const template = new UdpTemplate(SOURCE, DESTINATION, bytes);
  const words = new Uint32Array(512);
  const frame = new Uint8Array(words.buffer, 0, bytes);
  for (const flow of [0, 1, 255, 256, 0x1234, 0xffff]) {
    template.write(words, flow, 0xdead_beef);
    expect(headerSum(frame)).toBe(0xffff);
    expect([...frame.slice(26, 30)]).toEqual([10, 1, flow >> 8, flow & 0xff]);
    expect([...frame.slice(44, 48)]).toEqual([0xde, 0xad, 0xbe, 0xef]);
  }
  expect([...frame.slice(0, 14)]).toEqual([...DESTINATION, ...SOURCE, 8, 0]);
  const view = new DataView(words.buffer);
  expect([view.getUint16(16), view.getUint16(38)]).toEqual([bytes - 14, bytes - 34]);
});

test('the generator numbers frames, in turn for each flow, and stops at the limit', async () => {
  const igb = new SoftwareIgb();
  const { pool, tx } = await igb.queues(64, 2048, { rxCount: 8, txCount: 16 });
  const template = new UdpTemplate(SOURCE, DESTINATION, 60);
  const generator = new Generator(pool, tx, { template, flows: 3, vlan: 7 });
  const frames: Frame[] = [];
  for (let i = 0; i < 10; i++) {
    generator.poll(40);
    frames.push(...igb.transmit());
  }
  expect([generator.sent, frames.length, tx.pending]).toEqual([40, 40, 0]);
  frames.forEach(({ bytes, vlan }, n) => {
    expect([bytes[29], bytes[47], vlan]).toEqual([n % 3, n, 7]);
  });
  expect(pool.buffers.available).toBe(64 - 7);
});

/** Two ports with one pool. */
async function twoPorts(count: number) {
  const igb = new SoftwareIgb();
  const a = await igb.queues(count, 2048, { rxCount: 64, txCount: 16 });
  const other = new SoftwareIgb();
  // The same memory: one address space.
  other.at = (low, high) => igb.at(low, high);
  const queue = Pf.queue(QUEUE);
  const options = { rxCount: 64, txCount: 16, pool: a.pool };
  const b = await createQueues(other.registers, queue, igb.dma as never, options);
  b.rx.start();
  b.tx.start();
  return { igb, other, a, b, forwarder: new Forwarder(a.pool, a, b) };
}

const frame = (n: number): Frame => ({
  bytes: Uint8Array.from({ length: 60 }, (_, i) => n + i),
  vlan: n % 3 === 0 ? 100 : 0,
});

test('what comes in on one port goes out on the other, both ways, unchanged', async () => {
  const { igb, other, forwarder, a } = await twoPorts(512);
  for (let n = 0; n < 100; n++) {
    for (let i = 0; i < 5; i++) igb.receive(frame(n + i));
    other.receive(frame(n));
    expect(forwarder.poll()).toBe(6);
    expect(other.transmit()).toEqual([0, 1, 2, 3, 4].map((i) => frame(n + i)));
    expect(igb.transmit()).toEqual([frame(n)]);
  }
  expect([forwarder.forwarded, forwarder.dropped]).toEqual([600, 0]);
  // In the two receive rings, and of what was sent last.
  expect(a.pool.buffers.available).toBe(512 - 2 * 63 - 6);
});

test('what finds no room is dropped, counted, and its buffer is back', async () => {
  const { igb, other, forwarder, a } = await twoPorts(512);
  for (let n = 0; n < 30; n++) igb.receive({ ...frame(n), vlan: 0 });
  expect(forwarder.poll()).toBe(30);
  expect([forwarder.forwarded, forwarder.dropped]).toEqual([15, 15]);
  expect(other.transmit()).toHaveLength(15);
  expect(forwarder.poll()).toBe(0);
  expect(a.tx.pending).toBe(0);
  expect(a.pool.buffers.available).toBe(512 - 2 * 63 - 15);
});
