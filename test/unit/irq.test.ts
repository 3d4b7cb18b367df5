import { type Device, Eventfd, type Irq, openDevice } from 'vfio';
import { VFIO_PCI_INTX_IRQ_INDEX } from '../../src/ioctl/abi/constants';
import { requests } from '../../src/ioctl/abi/requests';
import { DEVICE, type FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';
import { SYS } from './fake-paths';
import { makeSysfs } from './fake-sysfs';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-paths'));

const sysfs = makeSysfs(SYS);
let kernel: FakeKernel;
let dev: Device;
let msix: Irq;
let heard: Record<number, number>;

async function open(): Promise<void> {
  dev = await openDevice(DEVICE.bdf);
  msix = dev.irq('msix');
  heard = {};
  msix.on(({ vector, count }) => {
    heard[vector] = (heard[vector] ?? 0) + count;
  });
}

beforeEach(async () => {
  kernel = bootFakeKernel();
  sysfs.add({ ...DEVICE, driver: 'vfio-pci', iommuGroup: DEVICE.group });
  await open();
});

afterEach(async () => {
  await dev.close();
  expect(kernel.leaks()).toEqual([]);
});

afterAll(() => sysfs.remove());

async function triggered(): Promise<Record<number, number>> {
  msix.trigger(0, msix.count);
  await new Promise(setImmediate);
  return heard;
}

describe('vectors', () => {
  test('are enabled by number or as a range, added and removed', async () => {
    await msix.enable({ first: 1, count: 2 });
    await msix.add([3, 3, 1]);
    expect(msix.enabled).toEqual([1, 2, 3]);
    expect(await triggered()).toEqual({ 1: 1, 2: 1, 3: 1 });
    await msix.remove([2, 0]);
    expect(msix.enabled).toEqual([1, 3]);
    expect(await triggered()).toEqual({ 1: 2, 2: 1, 3: 2 });
    await msix.remove({ first: 0, count: 4 });
    expect(msix.enabled).toEqual([]);
    expect(() => msix.trigger()).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  test('that were signaled before they are removed or disabled are told', async () => {
    await msix.enable([0, 1]);
    msix.trigger(0, 2);
    msix.trigger(0);
    await msix.remove([0]);
    expect(heard[0]).toBe(2);
    const iterator = msix.events();
    msix.trigger(1);
    await msix.disable();
    expect(heard[1]).toBeGreaterThan(0);
    expect((await iterator.next()).value).toMatchObject({ vector: 1 });
    expect((await iterator.next()).done).toBe(true);
  });

  test('are never in one request with those that are on: a failure would turn these off', async () => {
    await msix.enable([1]);
    kernel.failures.set(requests.VFIO_DEVICE_SET_IRQS, 28);
    await expect(msix.add([0, 2, 3])).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(msix.enabled).toEqual([1]);
    await expect(msix.handOver(2, { fd: 99 })).rejects.toMatchObject({ code: 'EINVAL' });
    expect(await triggered()).toEqual({ 1: 1 });
  });

  test('beyond what the machine has are an error that says how many there are', async () => {
    kernel.vectorsLeft = 2;
    await expect(msix.enable({ first: 0, count: 3 })).rejects.toMatchObject({
      code: 'ERR_VFIO_NO_INTERRUPT',
      hint: expect.stringContaining('at most 2'),
    });
    expect(msix.enabled).toEqual([]);
    await msix.enable([1]);
    expect(await triggered()).toEqual({ 1: 1 });
  });

  test('cannot go beyond the highest of the first request without dynamic MSI-X', async () => {
    await dev.close();
    kernel.dynamicMsix = false;
    await open();
    expect(msix.resizable).toBe(false);
    await msix.enable([0, 2]);
    await msix.add([1]);
    await expect(msix.add([1, 3])).rejects.toMatchObject({
      code: 'ERR_VFIO_UNSUPPORTED',
      hint: expect.stringContaining('highest'),
    });
    expect(await triggered()).toEqual({ 0: 1, 1: 1, 2: 1 });
    await msix.enable([3]);
    expect(msix.enabled).toEqual([3]);
  });

  test.each([
    [[4]],
    [[-1]],
    [[0.5]],
    [{ first: 3, count: 2 }],
    [{ first: 0, count: 0 }],
    [{ first: Number.NaN, count: 1 }],
    [{ first: 0, count: 2 ** 40 }],
  ])('%j are refused', async (vectors) => {
    const refused = { code: 'ERR_VFIO_INVALID_ARGUMENT' };
    await expect(msix.enable(vectors)).rejects.toMatchObject(refused);
    await expect(msix.add(vectors)).rejects.toMatchObject(refused);
    await expect(msix.remove(vectors)).rejects.toMatchObject(refused);
    expect(msix.enabled).toEqual([]);
  });
});

test('a vector that is handed over is seen by the holder of the eventfd only', async () => {
  const eventfd = new Eventfd();
  await msix.enable([0, 1]);
  await msix.handOver(1, eventfd);
  await msix.handOver(3, eventfd);
  expect(await triggered()).toEqual({ 0: 1 });
  expect(eventfd.read()).toBe(2);
  eventfd.write(5);
  await dev.close();
  expect(eventfd.read()).toBe(5);
  eventfd.close();
  eventfd.close();
  expect(() => eventfd.fd).toThrow(expect.objectContaining({ code: 'ERR_VFIO_CLOSED' }));
});

test('a vector that is on is handed over in one request: the kind of interrupt is never off', async () => {
  const eventfd = new Eventfd();
  await msix.enable([2]);
  msix.trigger(2);
  const requested = jest.spyOn(kernel.native, 'ioctlStructAsync');
  await msix.handOver(2, eventfd);
  expect(requested).toHaveBeenCalledTimes(1);
  // What was signaled before is told here.
  expect(heard).toEqual({ 2: 1 });
  expect(await triggered()).toEqual({ 2: 1 });
  expect(eventfd.read()).toBe(1);
  expect(msix.enabled).toEqual([2]);
  eventfd.close();
});

test('a vector that cannot be handed over stays with whoever had it, or is off', async () => {
  await msix.enable([2]);
  await expect(msix.handOver(2, { fd: 99 })).rejects.toMatchObject({ code: 'EINVAL' });
  expect(await triggered()).toEqual({ 2: 1 });
  const eventfd = new Eventfd();
  await msix.handOver(2, eventfd);
  eventfd.close();
  await expect(msix.handOver(2, { fd: 99 })).rejects.toMatchObject({ code: 'EINVAL' });
  expect(msix.enabled).toEqual([]);
  await msix.enable([1]);
  expect(await triggered()).toEqual({ 1: 1, 2: 1 });
});

test('a listener that throws keeps no other from its event', async () => {
  let uncaught: () => void = () => {};
  msix.on(() => {
    jest.spyOn(globalThis, 'setImmediate').mockImplementationOnce((callback) => {
      uncaught = callback as () => void;
      return {} as NodeJS.Immediate;
    });
    throw new Error('on purpose');
  });
  const after = jest.fn();
  msix.on(after);
  await msix.enable();
  await triggered();
  expect(after).toHaveBeenCalledTimes(1);
  expect(uncaught).toThrow('on purpose');
});

describe('INTx', () => {
  let intx: Irq;

  beforeEach(() => {
    kernel.irqs.set(VFIO_PCI_INTX_IRQ_INDEX, 1);
    intx = dev.irq('intx');
  });

  /** A listener that is at its first event until the returned function is called. */
  async function busy(): Promise<() => Promise<void>> {
    let finish = () => {};
    const held = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const off = intx.on(() => held);
    intx.trigger();
    await new Promise(setImmediate);
    off();
    return async () => {
      finish();
      await new Promise(setImmediate);
    };
  }

  test('is unmasked once its listeners are done', async () => {
    await intx.enable();
    const finish = await busy();
    expect(kernel.unmasked).toBe(0);
    await finish();
    expect(kernel.unmasked).toBe(1);
  });

  test.each([
    ['enabled anew', () => intx.enable([0], { unmask: 'manual' })],
    ['disabled and added', () => intx.disable().then(() => intx.add([0]))],
    ['removed and added', () => intx.remove([0]).then(() => intx.add([0]))],
  ])('%s, is not unmasked by who heard it before', async (_, renew) => {
    await intx.enable();
    const finish = await busy();
    await renew();
    await finish();
    expect(kernel.unmasked).toBe(0);
  });
});

test('once() takes one event, and lets go of an aborted wait', async () => {
  await msix.enable();
  const first = msix.once();
  msix.trigger();
  expect(await first).toEqual({ vector: 0, count: 1 });
  const controller = new AbortController();
  const second = msix.once({ signal: controller.signal });
  controller.abort(new Error('enough'));
  await expect(second).rejects.toThrow('enough');
  const third = msix.once();
  await msix.disable();
  await expect(third).rejects.toMatchObject({ code: 'ERR_VFIO_CLOSED' });
  expect(msix.listeners).toBe(1);
});
