/** Devices that are on no PCI bus, by vfio-platform: the timers of a PC, which need no IOMMU. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { type Device, openDevice } from 'vfio';

/** The high-precision event timer, and the clock with its interrupt line. */
const HPET = 'PNP0103:00';
const RTC = 'PNP0B00:00';
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

jest.spyOn(process, 'emitWarning').mockImplementation(() => {});

beforeAll(() => {
  // Else the kernel has a use for the counter, and the clock's line goes to the event timer.
  expect(readFileSync('/proc/cmdline', 'utf8')).toContain('hpet=disable');
  // Neither has a function that the kernel knows to reset it by.
  execFileSync('modprobe', ['vfio-platform', 'reset_required=0']);
  for (const name of [HPET, RTC]) {
    writeFileSync(`/sys/bus/platform/devices/${name}/driver_override`, 'vfio-platform');
    writeFileSync('/sys/bus/platform/drivers_probe', name);
  }
});

afterAll(() => {
  for (const name of [HPET, RTC]) {
    writeFileSync('/sys/bus/platform/drivers/vfio-platform/unbind', name);
    writeFileSync(`/sys/bus/platform/devices/${name}/driver_override`, '\n');
  }
});

async function opened<T>(name: string, use: (device: Device) => Promise<T> | T): Promise<T> {
  const device = await openDevice(name, { unsafe: 'noiommu' });
  try {
    return await use(device);
  } finally {
    await device.close();
  }
}

test('registers: a vendor, a period, and a counter that carries into its high half', () =>
  opened(HPET, (hpet) => {
    const registers = hpet.region(0);
    expect(registers.size).toBe(1024);
    // IA-PC HPET specification 1.0a, 2.3.4: vendor in the high half, femtoseconds per tick above it.
    expect(registers.read32(0) >>> 16).toBe(0x8086);
    expect(registers.read32(4)).toBe(10_000_000);
    // 2.3.5: bit 0 lets the main counter (2.3.7) run.
    const [configuration, counter] = [0x10, 0xf0];
    registers.write32(counter, 0xffff_ff00);
    registers.write32(counter + 4, 0);
    expect(registers.read32(counter)).toBe(0xffff_ff00);
    registers.write32(configuration, 1);
    const halves = new Uint32Array(2);
    while (halves[1] === 0) registers.read64LoHi(counter, halves);
    expect(halves[1]).toBe(1);
    registers.write32(configuration, 0);
  }));

test('what only PCI devices have is refused', () =>
  opened(HPET, async (hpet) => {
    expect(hpet.irqKinds()).toEqual([]);
    expect(hpet.regionNames()).toEqual([]);
    for (const name of ['bar0', 1, -1] as const) {
      expect(() => hpet.region(name)).toThrow(code('ERR_VFIO_NO_REGION'));
    }
    expect(() => hpet.irq('msix')).toThrow(code('ERR_VFIO_NO_INTERRUPT'));
    expect(() => hpet.irq(0)).toThrow(code('ERR_VFIO_NO_INTERRUPT'));
    expect(() => hpet.region(0).read32(1024)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
    await expect(hpet.reset()).rejects.toThrow(code('ERR_VFIO_NO_RESET'));
    expect(() => hpet.enableBusMaster()).toThrow(expect.objectContaining({ name: 'VfioError' }));
  }));

test('an interrupt of its line, which the clock raises twice a second', () =>
  opened(RTC, async (rtc) => {
    const irq = rtc.irq(0);
    expect(irq.count).toBe(1);
    await irq.enable([0]);
    const clock = new Clock();
    try {
      // MC146818: the rate in A, 15 is 2 Hz; PIE in B; reading C lets the next one come.
      clock.write(0x0a, (clock.read(0x0a) & 0xf0) | 15);
      clock.write(0x0b, clock.read(0x0b) | 0x40);
      clock.read(0x0c);
      let raised = 0;
      for await (const { vector } of irq.events({ signal: AbortSignal.timeout(20_000) })) {
        expect(vector).toBe(0);
        expect(clock.read(0x0c) & 0xc0).toBe(0xc0);
        if (++raised === 3) break;
      }
    } finally {
      clock.write(0x0b, clock.read(0x0b) & ~0x40);
      clock.close();
    }
  }));

/** The clock's registers, through I/O ports 0x70 (which one) and 0x71: vfio-platform has no ports. */
class Clock {
  readonly #fd = openSync('/dev/port', 'r+');

  read(register: number): number {
    writeSync(this.#fd, Uint8Array.of(register), 0, 1, 0x70);
    const byte = new Uint8Array(1);
    readSync(this.#fd, byte, 0, 1, 0x71);
    return byte[0]!;
  }

  write(register: number, value: number): void {
    writeSync(this.#fd, Uint8Array.of(register), 0, 1, 0x70);
    writeSync(this.#fd, Uint8Array.of(value), 0, 1, 0x71);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
