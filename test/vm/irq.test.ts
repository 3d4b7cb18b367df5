/**
 * What all kinds of interrupt have in common, and ERR and REQ.
 *
 * @kernel stock
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type Device, Eventfd, openDevice } from 'vfio';
import { bound, findDevice } from './lab-devices';

/** docs/specs/edu of QEMU. */
const LIVENESS = 0x04;
/** Base of the first transmit ring, 64 bits, the lowest 7 zero (82576 datasheet, 8.12.7). */
const TDBA = 0xe000;

bound('edu', 'igb');

let dev: Device;
let igb: Device;

beforeEach(async () => {
  dev = await openDevice(findDevice('edu').bdf);
  igb = await openDevice(findDevice('igb').bdf);
});

afterEach(async () => {
  await dev.close();
  await igb.close();
});

const turn = () => new Promise(setImmediate);

test('waiting for an interrupt ends with it, with an abort, and with the interrupt', async () => {
  const msi = dev.irq('msi');
  await msi.enable();
  const first = msi.once();
  msi.trigger();
  expect(await first).toEqual({ vector: 0, count: 1 });
  await expect(msi.once({ signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
    name: 'TimeoutError',
  });
  expect(msi.listeners).toBe(0);
  const second = msi.once();
  await msi.disable();
  await expect(second).rejects.toMatchObject({ code: 'ERR_VFIO_CLOSED' });
});

test('enabled vectors keep the process alive, unless unref() is called', async () => {
  const { bdf } = igb;
  await igb.close();
  const program = `
    const { openDevice } = require(${JSON.stringify(join(__dirname, '../../dist/index.js'))});
    openDevice('${bdf}').then(async (dev) => {
      const irq = dev.irq('msix');
      await irq.enable([0]);
      process.once('SIGUSR2', () => irq.unref());
      console.log('enabled');
    });`;
  const child = spawn(process.execPath, ['-e', program]);
  const exited = once(child, 'exit');
  await once(child.stdout, 'data');
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect(child.exitCode).toBeNull();
  child.kill('SIGUSR2');
  expect(await exited).toEqual([0, null]);
});

test('ERR and REQ are told to all who listen; with one of them, a request closes nothing', async () => {
  const heard: string[] = [];
  const off = igb.on('error', () => {
    heard.push('error');
  });
  igb.on('error', () => {
    heard.push('error, too');
  });
  igb.on('request', () => {
    heard.push('request');
  });
  while (igb.irq('err').enabled.length === 0) await turn();
  igb.irq('err').trigger();
  while (heard.length < 2) await turn();
  off();
  igb.irq('err').trigger();
  while (heard.length < 3) await turn();
  igb.irq('req').trigger();
  while (heard.length < 4) await turn();
  expect(heard).toEqual(['error', 'error, too', 'error, too', 'request']);
  expect(igb.closed).toBe(false);
});

test('without a listener, a request closes the device', async () => {
  while (igb.irq('req').enabled.length === 0) await turn();
  igb.irq('req').trigger();
  while (!igb.closed) await turn();
});

describe('an ioeventfd', () => {
  const bar = () => dev.region('bar0');

  test('writes to the device for whoever signals it, until it is closed', async () => {
    const eventfd = new Eventfd();
    const write = { offset: LIVENESS, width: 32, value: 0x1234_5678 } as const;
    const ioeventfd = bar().ioeventfd(eventfd, write);
    expect(() => bar().ioeventfd(eventfd, write)).toThrow(
      expect.objectContaining({ code: 'EEXIST' }),
    );
    eventfd.write();
    while (bar().read32(LIVENESS) !== ~0x1234_5678 >>> 0) await turn();
    bar().write32(LIVENESS, 1);
    ioeventfd.close();
    ioeventfd.close();
    eventfd.write();
    expect(bar().read32(LIVENESS)).toBe(~1 >>> 0);
    expect(eventfd.read()).toBe(1);
    eventfd.close();
  });

  test('ends with its device', async () => {
    const eventfd = new Eventfd();
    const ioeventfd = bar().ioeventfd(eventfd, { offset: LIVENESS, width: 32, value: -1 });
    await dev.close();
    ioeventfd.close();
    eventfd.write();
    eventfd.close();
  });

  test('of 64 bits', async () => {
    const eventfd = new Eventfd();
    const registers = igb.region('bar0');
    const value = 0x12_3456_7880n;
    const ioeventfd = registers.ioeventfd(eventfd, { offset: TDBA, width: 64, value });
    eventfd.write();
    while (registers.read32(TDBA + 4) !== 0x12) await turn();
    expect(registers.read32(TDBA)).toBe(0x3456_7880);
    ioeventfd.close();
    eventfd.close();
  });

  test('is refused outside of BARs and of their end, unaligned, and for what is no eventfd', () => {
    const eventfd = new Eventfd();
    const at = (offset: number) => ({ offset, width: 32, value: 1 }) as const;
    expect(() => dev.config.ioeventfd(eventfd, at(0x40))).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    expect(() => bar().ioeventfd(eventfd, at(bar().size))).toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_OUT_OF_RANGE' }),
    );
    expect(() => bar().ioeventfd(eventfd, at(2))).toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_UNALIGNED' }),
    );
    expect(() => bar().ioeventfd({ fd: 0 }, at(4))).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    eventfd.close();
  });
});
