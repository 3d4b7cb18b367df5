import { type Device, Eventfd, EventfdWatch, type Irq, openDevice } from 'vfio';
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

const turn = () => new Promise(setImmediate);

describe('what a listener does to the others', () => {
  test('what it adds and removes while it is called changes nothing about this event', async () => {
    let calls = 0;
    let off = () => {};
    const again = () => {
      calls += 1;
      off();
      if (calls < 10) off = msix.on(again);
    };
    off = msix.on(again);
    const removed = jest.fn();
    msix.on(() => offRemoved());
    const offRemoved = msix.on(removed);
    await msix.enable();
    await triggered();
    expect(calls).toBe(1);
    expect(removed).not.toHaveBeenCalled();
  });

  test('it cannot change the event of the next', async () => {
    const seen = jest.fn();
    dev.irq('msix').on((event) => {
      Object.assign(event, { vector: 99, count: 0 });
    });
    msix.on(seen);
    await msix.enable();
    await triggered();
    expect(seen).toHaveBeenCalledWith({ vector: 0, count: 1 });
  });

  test('added twice, it is called twice, and taken away once', async () => {
    const twice = jest.fn();
    const off = msix.on(twice);
    msix.on(twice);
    await msix.enable();
    await triggered();
    expect(twice).toHaveBeenCalledTimes(2);
    off();
    off();
    await triggered();
    expect(twice).toHaveBeenCalledTimes(3);
  });

  test.each([undefined, null, 5, 'listener', {}])('%p is none', (listener) => {
    const refused = expect.objectContaining({ code: 'ERR_VFIO_INVALID_ARGUMENT' });
    expect(() => msix.on(listener as () => void)).toThrow(refused);
    expect(() => dev.on('error', listener as () => void)).toThrow(
      expect.objectContaining({ name: 'VfioError' }),
    );
    expect(() => new EventfdWatch(listener as () => void)).toThrow(refused);
  });
});

describe('events that come while nobody listens', () => {
  const quiet = async () => {
    await dev.close();
    dev = await openDevice(DEVICE.bdf);
    msix = dev.irq('msix');
    await msix.enable({ first: 0, count: 4 });
  };

  test('are kept, with their count, for the first iterator or listener', async () => {
    await quiet();
    for (let i = 0; i < 3; i++) msix.trigger(2);
    await turn();
    expect(await msix.once()).toEqual({ vector: 2, count: 3 });
    msix.trigger(1);
    await turn();
    const seen = jest.fn();
    const off = msix.on(seen);
    expect(seen).not.toHaveBeenCalled();
    await turn();
    expect(seen.mock.calls).toEqual([[{ vector: 1, count: 1 }]]);
    off();
    msix.on(() => {})();
    msix.trigger(1);
    await turn();
    expect(await msix.once()).toEqual({ vector: 1, count: 1 });
  });

  test('once() in a loop hears all of a burst of several vectors', async () => {
    await quiet();
    const total = [0, 0, 0, 0];
    for (let round = 0; round < 5; round++) {
      msix.trigger(0, 4);
      await turn();
    }
    for (let seen = 0; seen < 20; ) {
      const { vector, count } = await msix.once();
      total[vector]! += count;
      seen += count;
    }
    expect(total).toEqual([5, 5, 5, 5]);
  });

  test('so are those that an iterator leaves behind', async () => {
    await quiet();
    const events = msix.events();
    for (const vector of [3, 1]) msix.trigger(vector);
    await turn();
    expect((await events.next()).value).toEqual({ vector: 3, count: 1 });
    await events.return?.();
    expect(await msix.once()).toEqual({ vector: 1, count: 1 });
  });

  test('are none of the next that is enabled after all were off', async () => {
    await quiet();
    msix.trigger(0);
    await turn();
    await msix.disable();
    await msix.enable([1]);
    msix.trigger(1);
    expect(await msix.once()).toEqual({ vector: 1, count: 1 });
  });
});

test('what is asked for is what was meant at the call, and a descriptor is a number', async () => {
  const vectors = [1];
  const enabling = msix.enable(vectors);
  vectors[0] = 3;
  await enabling;
  expect(msix.enabled).toEqual([1]);
  const refused = { code: 'ERR_VFIO_INVALID_ARGUMENT' };
  for (const fd of ['3', -1, undefined, 1.5, Number.NaN, 3n]) {
    const eventfd = { fd } as unknown as Eventfd;
    await expect(msix.handOver(1, eventfd)).rejects.toMatchObject(refused);
    await expect(msix.enable([0], { unmask: eventfd })).rejects.toMatchObject(refused);
  }
  await expect(msix.enable(null as never)).rejects.toMatchObject(refused);
  await expect(msix.enable({ first: 1n, count: 1 } as never)).rejects.toMatchObject(refused);
  await expect(msix.enable([0], { unmask: 'never' as never })).rejects.toMatchObject(refused);
  expect(() => msix.events({ signal: {} as AbortSignal })).toThrow(
    expect.objectContaining(refused),
  );
  expect(msix.enabled).toEqual([1]);
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

  const thenable = (then: unknown) => ({ then });
  test.each([
    ['a number', () => 1],
    ['an object', () => ({})],
    ['a function', () => () => {}],
    ['a thenable without finally', () => thenable((done: () => void) => done())],
    ['null', () => null],
    ['a thenable that is none', () => thenable(5)],
    ['a frozen promise', () => Object.freeze(Promise.resolve())],
    ['a promise without finally', () => Object.assign(Promise.resolve(), { finally: undefined })],
  ])('is unmasked once a listener has returned %s', async (_, listener) => {
    await intx.enable();
    const after = jest.fn();
    intx.on(listener as () => void);
    intx.on(after);
    intx.trigger();
    await turn();
    await turn();
    expect([after.mock.calls.length, kernel.unmasked]).toEqual([1, 1]);
  });

  test('is unmasked by hand, or kept for who listens later', async () => {
    await intx.enable([0], { unmask: 'manual' });
    intx.trigger();
    await turn();
    expect(await intx.once()).toEqual({ vector: 0, count: 1 });
    expect(kernel.unmasked).toBe(0);
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
