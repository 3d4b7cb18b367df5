/**
 * QEMU's edu device: registers, DMA and interrupts that really happen (docs/specs/edu of QEMU).
 *
 * @kernel stock
 */
import { type Device, openDevice } from 'vfio';
import {
  deviceHeld,
  deviceHolds,
  deviceReads,
  deviceWrites,
  deviceWritesAndInterrupts,
  eduMask,
} from './edu-dma';
import { bound, findDevice } from './lab-devices';

const ID = 0x00;
const LIVENESS = 0x04;
const IRQ_STATUS = 0x24;
const IRQ_RAISE = 0x60;
const IRQ_ACK = 0x64;
const DMA_SOURCE = 0x80;
const PCI_COMMAND = 4;
const MEMORY_SPACE = 2;

bound('edu');

let dev: Device;

beforeEach(async () => {
  dev = await openDevice(findDevice('edu').bdf);
});

afterEach(() => dev.close());

test('registers answer, in 32 and 64 bits', () => {
  const bar = dev.region('bar0');
  expect(bar.read32(ID)).toBe(0x010000ed);
  bar.write32(LIVENESS, 0x1234_5678);
  expect(bar.read32(LIVENESS)).toBe(~0x1234_5678 >>> 0);
  bar.write64(DMA_SOURCE, 0x1122_3344_5566_7788n);
  expect(bar.read64(DMA_SOURCE)).toBe(0x1122_3344_5566_7788n);
  const halves = new Uint32Array(2);
  bar.write64LoHi(DMA_SOURCE, 1, 2);
  bar.read32(ID);
  bar.readBatch32(Uint32Array.of(ID, LIVENESS), halves);
  expect([...halves]).toEqual([0x010000ed, ~0x1234_5678 >>> 0]);
});

test('DMA there and back moves the bytes, and nothing moves without bus master', async () => {
  const source = await dev.dma.alloc(4096, eduMask);
  const target = await dev.dma.alloc(4096, eduMask);
  for (let i = 0; i < 4096; i++) source.u8[i] = (i * 7 + 3) & 0xff;

  dev.enableBusMaster();
  await deviceHolds(dev, 0xbad0_bad0);
  dev.disableBusMaster();
  await deviceReads(dev, source.iova);
  await deviceWrites(dev, target.iova);
  expect(target.u8.every((byte) => byte === 0)).toBe(true);

  dev.enableBusMaster();
  expect((await deviceHeld(dev)).every((word) => word === 0xbad0_bad0)).toBe(false);
  await deviceReads(dev, source.iova);
  await deviceWrites(dev, target.iova);
  expect(Buffer.compare(target.u8, source.u8)).toBe(0);
});

test('at an address that is not mapped, what is written is dropped and what is read is zeros', async () => {
  const buffer = await dev.dma.alloc(4096, eduMask);
  dev.enableBusMaster();
  await deviceHolds(dev, 0xbad0_bad0);
  await deviceWrites(dev, buffer.iova + 4096n);
  expect(buffer.u8.every((byte) => byte === 0)).toBe(true);
  await deviceReads(dev, buffer.iova + 4096n);
  expect((await deviceHeld(dev)).every((word) => word === 0)).toBe(true);
});

test('MSI: the end of a DMA is one event', async () => {
  const msi = dev.irq('msi');
  const events = msi.events();
  dev.enableBusMaster();
  await msi.enable();
  const buffer = await dev.dma.alloc(4096, eduMask);
  await deviceWritesAndInterrupts(dev, buffer.iova, 16);
  expect((await events.next()).value).toEqual({ vector: 0, count: 1 });
  expect(dev.region('bar0').read32(IRQ_STATUS)).toBe(0x100);
  dev.region('bar0').write32(IRQ_ACK, 0x100);
});

describe('INTx', () => {
  const raise = (value: number) => dev.region('bar0').write32(IRQ_RAISE, value);
  const acknowledge = () =>
    dev.region('bar0').write32(IRQ_ACK, dev.region('bar0').read32(IRQ_STATUS));

  test('is unmasked when listeners are done: every interrupt arrives', async () => {
    const intx = dev.irq('intx');
    let heard = 0;
    intx.on(() => {
      acknowledge();
      heard += 1;
      if (heard < 5) raise(heard);
    });
    await intx.enable();
    raise(1);
    while (heard < 5) await new Promise(setImmediate);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(heard).toBe(5);
  });

  test('is unmasked when an iterator comes back for more', async () => {
    const intx = dev.irq('intx');
    await intx.enable();
    const events = intx.events();
    for (let round = 1; round <= 3; round++) {
      raise(round);
      expect((await events.next()).value).toEqual({ vector: 0, count: 1 });
      acknowledge();
    }
  });

  test('stays masked in manual mode until unmask()', async () => {
    const intx = dev.irq('intx');
    const heard = jest.fn(acknowledge);
    intx.on(heard);
    await intx.enable([0], { unmask: 'manual' });
    raise(1);
    while (heard.mock.calls.length < 1) await new Promise(setImmediate);
    raise(2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(heard).toHaveBeenCalledTimes(1);
    intx.unmask();
    while (heard.mock.calls.length < 2) await new Promise(setImmediate);
    intx.mask();
    intx.unmask();
  });

  test('MSI cannot be masked by VFIO', async () => {
    await dev.irq('msi').enable();
    expect(() => dev.irq('msi').mask()).toThrow(expect.objectContaining({ code: 'ENOTTY' }));
  });

  test('one kind at a time', async () => {
    await dev.irq('msi').enable();
    await expect(dev.irq('intx').enable()).rejects.toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    await dev.irq('msi').disable();
    await dev.irq('intx').enable();
  });
});

test('with memory decoding off, access is EIO and not a crash; restore() brings it back', () => {
  const bar = dev.region('bar0');
  const command = dev.config.read16(PCI_COMMAND);
  const gone = expect.objectContaining({ code: 'EIO', hint: expect.stringContaining('restore()') });
  expect(bar.read32(ID)).toBe(0x010000ed);
  dev.config.write16(PCI_COMMAND, command & ~MEMORY_SPACE);
  expect(() => bar.read32(ID)).toThrow(gone);
  expect(() => bar.write32(LIVENESS, 1)).toThrow(gone);
  dev.config.write16(PCI_COMMAND, command | MEMORY_SPACE);
  expect(() => bar.read32(ID)).toThrow(gone);
  bar.restore();
  expect(bar.read32(ID)).toBe(0x010000ed);
});
