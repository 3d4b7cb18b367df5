/**
 * MSI-X on igb: vectors that come and go, and counts that add up.
 *
 * @kernel stock
 */
import { type Device, Eventfd, findCapability, type Irq, type IrqEvent, openDevice } from 'vfio';
import { times } from '../fixtures/scale';
import { bound, findDevice } from './lab-devices';

/** 82576 datasheet, 8.8: interrupts. */
const GPIE = 0x1514;
const GPIE_MULTIPLE_MSIX = 1 << 4;
const EICS = 0x1520;
const EIMS = 0x1524;
const EIAC = 0x152c;

bound('igb', 'nvme');

let dev: Device;
let msix: Irq;
/** Interrupts counted so far, by vector. */
let counts: number[];
let events: number;

beforeEach(async () => {
  dev = await openDevice(findDevice('igb').bdf);
  msix = dev.irq('msix');
  counts = new Array(msix.count).fill(0);
  events = 0;
  msix.on(({ vector, count }) => {
    counts[vector]! += count;
    events += 1;
  });
});

afterEach(() => dev.close());

const turn = () => new Promise(setImmediate);

/** Wait until all of `expected` has come, and then for what should not. */
async function settled(expected: Record<number, number>): Promise<void> {
  const wanted = counts.map((_, vector) => expected[vector] ?? 0);
  const total = (all: number[]) => all.reduce((sum, count) => sum + count, 0);
  while (total(counts) < total(wanted)) await turn();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(counts).toEqual(wanted);
}

/** Have the device itself raise vectors. */
function deviceRaises(...vectors: number[]): void {
  for (const vector of vectors) dev.region('bar0').write32(EICS, 1 << vector);
}

async function armDevice(): Promise<void> {
  const bar = dev.region('bar0');
  dev.enableBusMaster();
  bar.write32(GPIE, GPIE_MULTIPLE_MSIX);
  bar.write32(EIAC, 0x3ff);
  bar.write32(EIMS, 0x3ff);
}

test('each of 1 to 10 vectors, enabled together, signals once per trigger', async () => {
  expect(msix.count).toBe(10);
  for (let n = 1; n <= msix.count; n++) {
    counts.fill(0);
    await msix.enable({ first: 0, count: n });
    msix.trigger(0, n);
    await settled(Object.fromEntries(counts.slice(0, n).map((_, vector) => [vector, 1])));
    await msix.disable();
  }
});

test('vectors are added and removed while others run', async () => {
  await armDevice();
  expect(msix.resizable).toBe(true);
  await msix.enable([0]);
  // The device goes on raising vector 0 all the time: an interrupt lost is one missing in the end.
  let raised = 0;
  const churn = (async () => {
    for (let round = 0; round < 20; round++) {
      await msix.add([3, 4, 8]);
      expect(msix.enabled).toEqual([0, 3, 4, 8]);
      await msix.remove([3, 8]);
      await msix.add({ first: 7, count: 2 });
      await msix.remove([4, 7, 8]);
      expect(msix.enabled).toEqual([0]);
    }
  })();
  let churning = true;
  churn.finally(() => {
    churning = false;
  });
  while (churning) {
    const before = counts[0]!;
    deviceRaises(0);
    raised += 1;
    while (counts[0] === before) await turn();
  }
  await churn;
  expect(raised).toBeGreaterThan(20);
  await settled({ 0: raised });

  await msix.add([9]);
  deviceRaises(9, 5);
  await settled({ 0: raised, 9: 1 });
});

test('a range of vectors; triggering ones that are off does nothing', async () => {
  await msix.enable({ first: 2, count: 4 });
  expect(msix.enabled).toEqual([2, 3, 4, 5]);
  msix.trigger(0, 10);
  await settled({ 2: 1, 3: 1, 4: 1, 5: 1 });
  await msix.remove({ first: 3, count: 2 });
  msix.trigger(2, 4);
  await settled({ 2: 2, 3: 1, 4: 1, 5: 2 });
});

test('a vector is handed over to a raw eventfd and taken back', async () => {
  await armDevice();
  await msix.enable([0, 1]);
  const eventfd = new Eventfd();
  await msix.handOver(1, eventfd);
  deviceRaises(0, 1);
  await settled({ 0: 1 });
  expect(eventfd.read()).toBe(1);
  expect(eventfd.read()).toBe(0);
  msix.trigger(1);
  msix.trigger(1);
  expect(eventfd.read()).toBe(2);
  await msix.remove([1]);
  await msix.add([1]);
  msix.trigger(1);
  await settled({ 0: 1, 1: 1 });
  expect(eventfd.read()).toBe(0);
  eventfd.close();
  await expect(msix.handOver(2, eventfd)).rejects.toMatchObject({ code: 'ERR_VFIO_CLOSED' });
  await expect(msix.handOver(2, { fd: 0 })).rejects.toMatchObject({ code: 'EINVAL' });
  expect(msix.enabled).toEqual([0, 1]);
});

test('the only vector changes hands with MSI-X on all the time, and stays where it is if it cannot', async () => {
  await armDevice();
  await msix.enable([0]);
  const capability = () => findCapability(dev.configSpace(), 'msix');
  await expect(msix.handOver(0, { fd: 0 })).rejects.toMatchObject({ code: 'EINVAL' });
  deviceRaises(0);
  await settled({ 0: 1 });
  const eventfd = new Eventfd();
  await msix.handOver(0, eventfd);
  expect(capability()).toMatchObject({ enabled: true });
  deviceRaises(0);
  await settled({ 0: 1 });
  expect(eventfd.read()).toBe(1);
  await msix.remove([0]);
  expect(capability()).toMatchObject({ enabled: false });
  eventfd.close();
});

test('what was signaled before its vector is turned off is told', async () => {
  await msix.enable([0, 1, 2]);
  for (let i = 0; i < 5; i++) msix.trigger(0, 3);
  // Nobody has looked at the eventfds up to here.
  await msix.remove([1]);
  expect(counts[1]).toBe(5);
  msix.trigger(2);
  await msix.disable();
  expect(counts.slice(0, 3)).toEqual([5, 5, 6]);
});

const rounds = times(5_000, 100_000);

test(`${10 * rounds} triggers: the counts add up exactly`, async () => {
  await msix.enable({ first: 0, count: 10 });
  const iterated = new Array<number>(10).fill(0);
  const iterating = (async () => {
    for await (const { vector, count } of msix) {
      iterated[vector]! += count;
      // Slower than the device: what piles up is added up.
      await turn();
    }
  })();
  for (let round = 0; round < rounds; round++) {
    msix.trigger(0, 10);
    if (round % 500 === 499) await turn();
  }
  const all = new Array<number>(10).fill(rounds);
  await settled(Object.fromEntries(all.entries()));
  await msix.disable();
  await iterating;
  expect(iterated).toEqual(all);
  expect(events).toBeLessThan(10 * rounds);
}, 300_000);

test('a storm raised by the device itself loses nothing that it signaled, and ends', async () => {
  await armDevice();
  await msix.enable({ first: 0, count: 10 });
  const bar = dev.region('bar0');
  const last: IrqEvent[] = [];
  for (let round = 0; round < times(4_000, 20_000); round++) {
    bar.write32(EICS, 0x3ff);
    if (round % 1000 === 999) await turn();
  }
  await turn();
  // The device merges interrupts that it has not sent yet; each vector got through, and still does.
  for (const count of counts) expect(count).toBeGreaterThan(0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = [...counts];
  msix.on((event) => {
    last.push(event);
  });
  deviceRaises(7);
  while (last.length === 0) await turn();
  expect(last).toEqual([{ vector: 7, count: 1 }]);
  before[7]! += 1;
  expect(counts).toEqual(before);
}, 120_000);

test('16 vectors of nvme', async () => {
  const nvme = await openDevice(findDevice('nvme').bdf);
  const irq = nvme.irq('msix');
  const heard: number[] = [];
  irq.on(({ vector }) => {
    heard.push(vector);
  });
  await irq.enable({ first: 0, count: 16 });
  irq.trigger(0, 16);
  while (heard.length < 16) await turn();
  expect(heard.sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, i) => i));
  await nvme.close();
});
