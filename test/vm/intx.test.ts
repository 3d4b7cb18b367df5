/**
 * INTx on edu: who masks and unmasks it, and when.
 *
 * @kernel stock
 */
import { type Device, Eventfd, type Irq, openDevice } from 'vfio';
import { times } from '../fixtures/scale';
import { bound, findDevice } from './lab-devices';

/** docs/specs/edu of QEMU. */
const IRQ_STATUS = 0x24;
const IRQ_RAISE = 0x60;
const IRQ_ACK = 0x64;

bound('edu');

let dev: Device;
let intx: Irq;
let heard: number;

beforeEach(async () => {
  dev = await openDevice(findDevice('edu').bdf);
  intx = dev.irq('intx');
  heard = 0;
});

afterEach(() => dev.close());

const turn = () => new Promise(setImmediate);
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
const raise = () => dev.region('bar0').write32(IRQ_RAISE, 1);
const acknowledge = () =>
  dev.region('bar0').write32(IRQ_ACK, dev.region('bar0').read32(IRQ_STATUS));

function count(): void {
  intx.on(() => {
    acknowledge();
    heard += 1;
  });
}

async function heardOf(total: number): Promise<void> {
  while (heard < total) await turn();
  await pause();
  expect(heard).toBe(total);
}

test('it can be masked, and says so', async () => {
  expect([intx.count, intx.maskable, dev.irq('msi').maskable]).toEqual([1, true, false]);
  count();
  await intx.enable();
  intx.mask();
  raise();
  await heardOf(0);
  intx.unmask();
  await heardOf(1);
});

test('an eventfd unmasks it, whoever writes to it', async () => {
  const unmask = new Eventfd();
  count();
  await intx.enable([0], { unmask });
  raise();
  await heardOf(1);
  raise();
  await heardOf(1);
  unmask.write();
  await heardOf(2);
  // Written while nothing is pending: it is unmasked for the next.
  unmask.write();
  raise();
  await heardOf(3);
  unmask.close();
});

test('when nobody listens, it waits, masked, for somebody who does', async () => {
  await intx.enable();
  raise();
  await pause();
  const next = await intx.once();
  expect(next).toEqual({ vector: 0, count: 1 });
  acknowledge();
  count();
  raise();
  await heardOf(1);
});

test('it waits for a listener that takes its time', async () => {
  let release = () => {};
  intx.on(async () => {
    heard += 1;
    acknowledge();
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  });
  await intx.enable();
  raise();
  await heardOf(1);
  raise();
  await heardOf(1);
  release();
  await heardOf(2);
});

test('loopback triggers and unmasking race with interrupts, enabling and disabling', async () => {
  const unmask = new Eventfd();
  intx.on(acknowledge);
  for (let round = 0; round < times(50, 300); round++) {
    // On the thread pool, while this thread goes on.
    const enabling = intx.enable([0], round % 2 ? { unmask } : { unmask: 'auto' });
    for (let i = 0; i < 20; i++) {
      try {
        intx.trigger();
        intx.unmask();
      } catch (error) {
        // Not enabled yet.
        expect(error).toMatchObject({ code: 'EINVAL' });
      }
      if (i % 4 === 0) raise();
      unmask.write();
    }
    await enabling;
    if (round % 3 === 0) await intx.disable();
  }
  await intx.disable();
  acknowledge();
  unmask.close();
  count();
  await intx.enable();
  for (let i = 1; i <= 10; i++) {
    raise();
    await heardOf(i);
  }
}, 120_000);
