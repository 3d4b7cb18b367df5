/**
 * What every device does, whatever is below: run against the fake addon on the host and against the
 * kernel in the VM.
 */
import { type Device, type OpenOptions, openDevice } from 'vfio';

export interface DeviceUnderTest {
  readonly bdf: string;
  readonly vendor: number;
  /** A memory BAR. */
  readonly bar: 'bar0' | 'bar2';
  /** An interrupt kind that can be triggered by loopback. */
  readonly irq: 'msi' | 'msix';
  readonly options?: OpenOptions;
}

const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

export function deviceContract(name: string, under: () => DeviceUnderTest): void {
  describe(`${name}: device contract`, () => {
    let dev: Device;

    beforeEach(async () => {
      dev = await openDevice(under().bdf, under().options);
    });

    afterEach(async () => {
      await dev.close();
    });

    test('config space names the vendor, and bus master is off until asked for', () => {
      expect(dev.config.read16(0)).toBe(under().vendor);
      expect(dev.config.read16(4) & 4).toBe(0);
      dev.enableBusMaster();
      expect(dev.config.read16(4) & 4).toBe(4);
      dev.disableBusMaster();
      expect(dev.config.read16(4) & 4).toBe(0);
    });

    test('a BAR is mapped; config space goes through the kernel', () => {
      expect(dev.region(under().bar).mapped).toBe(true);
      expect(dev.config.mapped).toBe(false);
      expect(dev.region(under().bar)).toBe(dev.region(under().bar));
    });

    test.each(['config', 'bar'])('%s: offsets outside, unaligned or senseless throw', (which) => {
      const region = which === 'bar' ? dev.region(under().bar) : dev.config;
      for (const offset of [region.size, region.size + 4, -4, 2 ** 40, 2 ** 53]) {
        expect(() => region.read32(offset)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
        expect(() => region.write32(offset, 0)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
      }
      for (const offset of [1, 2, 3]) {
        expect(() => region.read32(offset)).toThrow(code('ERR_VFIO_UNALIGNED'));
      }
      expect(() => region.read64(4)).toThrow(code('ERR_VFIO_UNALIGNED'));
      expect(() => region.read16(1)).toThrow(code('ERR_VFIO_UNALIGNED'));
      for (const offset of [Number.NaN, 0.5, Number.POSITIVE_INFINITY]) {
        expect(() => region.read32(offset)).toThrow(expect.objectContaining({ name: 'VfioError' }));
      }
      expect(() => region.readBytes(region.size - 2, new Uint8Array(4))).toThrow(
        code('ERR_VFIO_OUT_OF_RANGE'),
      );
    });

    test('reading config space as bytes gives what single reads give', () => {
      const bytes = new Uint8Array(64);
      expect(dev.config.readBytes(0, bytes)).toBe(64);
      expect(bytes[0]! | (bytes[1]! << 8)).toBe(dev.config.read16(0));
    });

    test('regions and interrupts that are not there are errors that name those that are', () => {
      expect(() => dev.region('bar9' as 'bar0')).toThrow(code('ERR_VFIO_NO_REGION'));
      expect(() => dev.region(77)).toThrow(
        expect.objectContaining({ hint: expect.stringContaining('config') }),
      );
      expect(() => dev.irq('nmi' as 'msi')).toThrow(code('ERR_VFIO_NO_INTERRUPT'));
    });

    test('DMA memory is zeroed, page-sized, inside the reported ranges, and apart', async () => {
      const buffers = await Promise.all([100, 4096, 8192, 3 * 4096].map((n) => dev.dma.alloc(n)));
      expect(buffers.map(({ size }) => size)).toEqual([4096, 4096, 8192, 12288]);
      for (const buffer of buffers) {
        const end = buffer.iova + BigInt(buffer.size) - 1n;
        expect(dev.dma.iovaRanges!.some((r) => buffer.iova >= r.start && end <= r.end)).toBe(true);
        expect(buffer.u8.every((byte) => byte === 0)).toBe(true);
        expect((BigInt(buffer.iovaHi) << 32n) | BigInt(buffer.iovaLo)).toBe(buffer.iova);
        buffer.u32[0] = 0x1234_5678;
        expect(buffer.u8[0]).toBe(0x78);
      }
      expect(new Set(buffers.map(({ iova }) => iova)).size).toBe(4);
      await Promise.all(buffers.map((buffer) => buffer.close()));
    });

    test('a closed buffer is detached at once, and its address can be used again', async () => {
      const buffer = await dev.dma.alloc(4096);
      const { u8, iova } = buffer;
      const closing = buffer.close();
      expect(u8.length).toBe(0);
      expect(() => buffer.u8).toThrow(code('ERR_VFIO_CLOSED'));
      await closing;
      await buffer.close();
      const again = await dev.dma.alloc(4096);
      expect(again.iova).toBe(iova);
    });

    test.each([0, -1, 1.5, Number.NaN, 2 ** 60])('alloc(%p) is refused', async (size) => {
      await expect(dev.dma.alloc(size)).rejects.toThrow(
        expect.objectContaining({ name: 'VfioError' }),
      );
    });

    test('narrow and aligned allocations are where they have to be', async () => {
      const narrow = await dev.dma.alloc(4096, { maxIova: (1n << 28n) - 1n });
      expect(narrow.iova + 4095n).toBeLessThan(1n << 28n);
      const aligned = await dev.dma.alloc(4096, { alignment: 1 << 21 });
      expect(aligned.iova % (1n << 21n)).toBe(0n);
      await expect(dev.dma.alloc(4096, { maxIova: 100n })).rejects.toThrow(
        code('ERR_VFIO_IOVA_SPACE'),
      );
      await expect(dev.dma.alloc(4096, { alignment: 12345 })).rejects.toThrow(
        code('ERR_VFIO_INVALID_ARGUMENT'),
      );
    });

    test('a triggered vector gives exactly one event, to listeners and iterators', async () => {
      const irq = dev.irq(under().irq);
      const events = irq.events();
      const heard: number[] = [];
      const off = irq.on(({ vector, count }) => {
        heard.push(vector, count);
      });
      await irq.enable([0]);
      expect(irq.enabled).toEqual([0]);
      irq.trigger(0);
      expect(await events.next()).toEqual({ done: false, value: { vector: 0, count: 1 } });
      expect(heard).toEqual([0, 1]);
      off();
      irq.trigger(0);
      expect((await events.next()).value).toEqual({ vector: 0, count: 1 });
      expect(heard).toHaveLength(2);
      const next = events.next();
      await irq.disable();
      expect((await next).done).toBe(true);
      expect(irq.enabled).toEqual([]);
    });

    test('triggers that nobody looked at are one event with their count', async () => {
      const irq = dev.irq(under().irq);
      const events = irq.events();
      await irq.enable();
      for (let i = 0; i < 5; i++) irq.trigger(0);
      let seen = 0;
      while (seen < 5) seen += (await events.next()).value.count;
      expect(seen).toBe(5);
    });

    test('an aborted iteration rejects and lets go', async () => {
      const irq = dev.irq(under().irq);
      await irq.enable();
      const controller = new AbortController();
      const next = irq.events({ signal: controller.signal }).next();
      controller.abort();
      await expect(next).rejects.toMatchObject({ name: 'AbortError' });
    });

    test('vectors that the device does not have are refused', async () => {
      const irq = dev.irq(under().irq);
      await expect(irq.enable([irq.count])).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
      await expect(irq.enable([-1])).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
      expect(() => irq.trigger(irq.count)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
      expect(irq.enabled).toEqual([]);
    });

    test('close is final: children end, use throws, a second close does nothing', async () => {
      const region = dev.region(under().bar);
      const irq = dev.irq(under().irq);
      const { config } = dev;
      const buffer = await dev.dma.alloc(4096);
      const { u32 } = buffer;
      await irq.enable();
      const next = irq[Symbol.asyncIterator]().next();

      const closing = dev.close();
      expect(() => region.read32(0)).toThrow(code('ERR_VFIO_CLOSED'));
      expect(() => config.read32(0)).toThrow(code('ERR_VFIO_CLOSED'));
      await closing;
      await dev.close();

      expect((await next).done).toBe(true);
      expect(u32.length).toBe(0);
      expect(() => buffer.u32).toThrow(code('ERR_VFIO_CLOSED'));
      expect(() => dev.region(under().bar)).toThrow(code('ERR_VFIO_CLOSED'));
      expect(() => dev.irq(under().irq)).toThrow(code('ERR_VFIO_CLOSED'));
      expect(() => dev.enableBusMaster()).toThrow(code('ERR_VFIO_CLOSED'));
      expect(() => irq.trigger(0)).toThrow(code('ERR_VFIO_CLOSED'));
      expect(() => irq.on(() => {})).toThrow(code('ERR_VFIO_CLOSED'));
      await expect(irq.enable()).rejects.toThrow(code('ERR_VFIO_CLOSED'));
      await expect(dev.reset()).rejects.toThrow(code('ERR_VFIO_CLOSED'));
      await expect(dev.dma.alloc(4096)).rejects.toThrow(code('ERR_VFIO_CLOSED'));
      await expect(buffer.close()).resolves.toBeUndefined();
    });

    test('closing while things are under way neither hangs nor leaks', async () => {
      const allocations = [dev.dma.alloc(4096), dev.dma.alloc(1 << 20)];
      const enabling = dev.irq(under().irq).enable();
      const resetting = dev.reset();
      const closing = dev.close();
      await Promise.allSettled([...allocations, enabling, resetting]);
      await closing;
      const again = await openDevice(under().bdf, under().options);
      await again.close();
    });

    test('reset brings the device back and its regions keep working', async () => {
      const bar = dev.region(under().bar);
      if (!dev.canReset) {
        await expect(dev.reset()).rejects.toThrow(code('ERR_VFIO_NO_RESET'));
        return;
      }
      await dev.reset();
      expect(bar.read32(0)).not.toBe(0xffff_ffff);
      expect(dev.config.read16(0)).toBe(under().vendor);
    });
  });
}
