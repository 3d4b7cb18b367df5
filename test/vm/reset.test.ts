/**
 * Resets of a function, and of a bus with all that is on it.
 *
 * @kernel each
 */
import { existsSync } from 'node:fs';
import { bindDriver, type Device, type OpenOptions, openDevice, resetMethods } from 'vfio';
import { bound, findDevice, findDevices } from './lab-devices';

const backends: NonNullable<OpenOptions['backend']>[] = ['group'];
if (existsSync('/dev/iommu')) backends.push('iommufd');
else console.info('no /dev/iommu in this kernel: hot resets by groups only');

/** LED control of 82576 (datasheet, 8.2.9) and 82574; a reset sets it to its default. */
const LEDCTL = 0x0e00;
const BUS_MASTER = 4;

bound('igb', 'edu');

const turn = () => new Promise(setImmediate);

async function signals(dev: Device): Promise<boolean> {
  const event = dev.irq('msix').once({ signal: AbortSignal.timeout(5000) });
  dev.irq('msix').trigger(0);
  return (await event).count === 1;
}

test("the methods to reset a function, by the kernel's names", async () => {
  const igb = await openDevice(findDevice('igb').bdf);
  expect(igb.canReset).toBe(true);
  expect(igb.resetMethods[0]).toBe('flr');
  expect(igb.resetMethods).toEqual(resetMethods(igb.bdf));
  await igb.close();
  const edu = await openDevice(findDevice('edu').bdf);
  expect(edu.canReset).toBe(edu.resetMethods.length > 0);
  await edu.close();
});

test('a function reset clears registers; config space and interrupts come back', async () => {
  const igb = await openDevice(findDevice('igb').bdf);
  const bar = igb.region('bar0');
  igb.enableBusMaster();
  await igb.irq('msix').enable([0]);
  const initial = bar.read32(LEDCTL);
  expect(initial).not.toBe(0);
  bar.write32(LEDCTL, 0);
  expect(bar.read32(LEDCTL)).toBe(0);
  await igb.reset();
  expect(bar.read32(LEDCTL)).toBe(initial);
  expect(igb.config.read16(4) & BUS_MASTER).toBe(BUS_MASTER);
  expect(await signals(igb)).toBe(true);
  await igb.close();
});

test('resets, interrupts and register accesses at once', async () => {
  const igb = await openDevice(findDevice('igb').bdf);
  const bar = igb.region('bar0');
  await igb.irq('msix').enable([0]);
  const initial = bar.read32(LEDCTL);
  let resetting = true;
  const resets = (async () => {
    for (let i = 0; i < 5; i++) await igb.reset();
    resetting = false;
  })();
  while (resetting) {
    // The kernel holds back what comes in the middle of a reset.
    expect(bar.read32(LEDCTL)).toBe(initial);
    expect(await signals(igb)).toBe(true);
  }
  await resets;
  await igb.close();
});

describe.each(backends)('hot reset by %s', (backend) => {
  test('a device alone on its bus', async () => {
    const igb = await openDevice(findDevice('igb').bdf, { backend });
    expect(igb.hotResetDevices()).toEqual([{ bdf: igb.bdf, blocker: undefined }]);
    await igb.irq('msix').enable([0]);
    const bar = igb.region('bar0');
    const initial = bar.read32(LEDCTL);
    bar.write32(LEDCTL, 0);
    await igb.hotReset();
    expect(bar.read32(LEDCTL)).toBe(initial);
    expect(await signals(igb)).toBe(true);
    await igb.close();
  });

  test('a device on the root bus has none', async () => {
    const edu = await openDevice(findDevice('edu').bdf, { backend });
    const none = expect.objectContaining({ code: 'ERR_VFIO_NO_RESET' });
    expect(() => edu.hotResetDevices()).toThrow(none);
    await expect(edu.hotReset()).rejects.toThrow(none);
    await edu.close();
  });

  test('VFs are on the bus of their PF, and in the way', async () => {
    const vfToken = '2ab74924-c335-45f4-9b16-8569e5b08258';
    const igb = await openDevice(findDevice('igb').bdf, { backend, vfToken });
    const [first] = (await igb.sriov.setNumVfs(2)) as [string];
    const vf = expect.stringMatching(/^a VF/);
    expect(igb.hotResetDevices().map(({ blocker }) => blocker)).toEqual([undefined, vf, vf]);
    await expect(igb.hotReset()).rejects.toThrow(
      expect.objectContaining({
        code: 'ERR_VFIO_NO_RESET',
        hint: expect.stringContaining(`${first} is a VF`),
      }),
    );
    await igb.sriov.setNumVfs(0);
    await igb.hotReset();
    await igb.close();
  });

  describe('of two functions of one slot', () => {
    const [first, second] = findDevices('e1000e').map(({ bdf }) => bdf) as [string, string];

    test('both are reset, and both have to be under vfio-pci', async () => {
      const bindings = [await bindDriver(first)];
      const a = await openDevice(first, { backend });
      const alone = a.hotResetDevices();
      expect(alone).toEqual([
        { bdf: first, blocker: undefined },
        { bdf: second, blocker: expect.stringContaining('vfio-pci is needed') },
      ]);
      await expect(a.hotReset()).rejects.toThrow(
        expect.objectContaining({
          hint: expect.stringContaining(`${second} is bound to no driver`),
        }),
      );

      bindings.push(await bindDriver(second));
      // Nobody else can have the other function, which is of the same group.
      expect(a.hotResetDevices().every(({ blocker }) => blocker === undefined)).toBe(true);
      const b = await openDevice(second, { backend });
      expect(b.dma).toBe(a.dma);
      await b.irq('msix').enable([0, 1]);
      for (const dev of [a, b]) {
        dev.region('bar0').write32(LEDCTL, 0x55);
        expect(dev.region('bar0').read32(LEDCTL)).toBe(0x55);
      }
      await a.hotReset();
      for (const dev of [a, b]) expect(dev.region('bar0').read32(LEDCTL)).not.toBe(0x55);
      expect(await signals(b)).toBe(true);
      await b.hotReset();
      await turn();
      await Promise.all([a.close(), b.close()]);
      for (const binding of bindings) await binding.restore();
    });
  });
});
