/**
 * Two worker threads on two queues of one igb port; the frames come from the port wired to it.
 *
 * @kernel stock
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type Binding, bindDriver } from 'vfio';
import { Generator } from '../../examples/igb/generator';
import { BROADCAST } from '../../examples/igb/mac';
import { IgbPort } from '../../examples/igb/port';
import { QueueWorkers } from '../../examples/igb/queue-workers';
import { UdpTemplate } from '../../examples/igb/udp-frame';
import { findDevices } from './lab-devices';

const SCRIPT = join(__dirname, '../../build/examples/igb/queue-worker.js');
const FLOWS = 64;

const PORTS = findDevices('igb')
  .slice(-2)
  .map(({ bdf }) => bdf) as [string, string];
let bindings: Binding[] = [];
let sender: IgbPort;
let workers: QueueWorkers;
let generator: Generator;

/** Send frames of all flows and see them arrive, on queues that have a worker. */
async function send(count: number): Promise<void> {
  const { tx } = sender.queues[0]!;
  const end = generator.sent + count;
  while (generator.sent < end) generator.poll(end);
  while (tx.pending > 0);
}

async function counts(): Promise<Array<number | undefined>> {
  return Promise.all([0, 1].map(async (queue) => (await workers.counts(queue))?.frames));
}

function eventfds(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('eventfd');
    } catch {
      return false;
    }
  }).length;
}

beforeAll(async () => {
  bindings = await Promise.all(PORTS.map((bdf) => bindDriver(bdf)));
  sender = await IgbPort.open(PORTS[0]);
  workers = await QueueWorkers.open(PORTS[1], 2, {}, SCRIPT);
  for (const port of [sender, workers.port]) await port.waitForLink(10_000);
  const { pool, tx } = sender.queues[0]!;
  const template = new UdpTemplate(sender.mac, BROADCAST, 60);
  generator = new Generator(pool, tx, { template, flows: FLOWS, vlan: 0 });
});

afterAll(async () => {
  await workers?.close();
  await sender?.close();
  await Promise.all(bindings.map((binding) => binding.restore()));
});

test('flows are spread over both queues, and none of their frames is lost', async () => {
  await send(640);
  const [a, b] = await counts();
  expect(a! + b!).toBe(640);
  expect(Math.min(a!, b!)).toBeGreaterThan(100);
  // A flow stays on its queue: ten times as many frames of the same flows.
  await send(640);
  expect(await counts()).toEqual([2 * a!, 2 * b!]);
});

test('a worker that is terminated takes nothing down, and another can have its queue', async () => {
  const before = eventfds();
  const [a, b] = (await counts()) as [number, number];
  await workers.terminate(0);
  expect(eventfds()).toBeLessThan(before);
  await send(640);
  expect(await counts()).toEqual([undefined, b + b / 2]);
  for (let round = 0; round < 3; round++) {
    await workers.start(0);
    await workers.terminate(0);
  }
  await workers.start(0);
  expect(eventfds()).toBe(before);
  await send(640);
  expect(await counts()).toEqual([a / 2, 2 * b]);
});

test('a worker that fails ends alone, and who listens is told why', async () => {
  const ended = new Promise<[number, Error | undefined]>((resolve) => {
    workers.onEnd = (queue, error) => resolve([queue, error]);
  });
  // Its memory is gone before it starts: it throws.
  await workers.terminate(1);
  await ended;
  const failed = new Promise<Error | undefined>((resolve) => {
    workers.onEnd = (_, error) => resolve(error);
  });
  const share = jest.spyOn(workers.port.device.region('bar0'), 'share');
  share.mockReturnValue({ device: 'none', name: 'bar0', size: 4096, flags: 7, range: 2 ** 40 });
  await expect(workers.start(1)).rejects.toThrow(/bar0 of none/);
  expect((await failed)?.message).toMatch(/bar0 of none/);
  share.mockRestore();
  await workers.start(1);
  const [a, b] = (await counts()) as [number, number];
  await send(640);
  const [c, d] = (await counts()) as [number, number];
  expect(c - a + d - b).toBe(640);
});

test('the port closes with its workers, and opens again', async () => {
  await workers.close();
  await (await IgbPort.open(PORTS[1])).close();
});
