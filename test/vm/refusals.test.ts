/**
 * What the kernel's state forbids, and what a person is told about it.
 *
 * @kernel stock
 */
import { execFileSync } from 'node:child_process';
import { existsSync, renameSync } from 'node:fs';
import {
  type Binding,
  bindDriver,
  iommuGroupMembers,
  openDevice,
  type PciDevice,
  readPciDevice,
} from 'vfio';
import { findDevice, findDevices } from './lab-devices';

const bindings: Binding[] = [];

afterEach(async () => {
  // Without its module, e1000e is no driver to go back to.
  for (const binding of bindings.splice(0).reverse()) await binding.restore().catch(() => {});
});

async function bind(bdf: string, driver?: string): Promise<Binding> {
  const binding = await bindDriver(bdf, driver);
  bindings.push(binding);
  return binding;
}

test('a device that is not bound: the hint binds it', async () => {
  await expect(openDevice(findDevice('edu').bdf)).rejects.toThrow(
    expect.objectContaining({
      code: 'ERR_VFIO_NOT_BOUND',
      hint: expect.stringContaining('bindDriver'),
    }),
  );
});

test('no such device', async () => {
  await expect(openDevice('0000:7f:1f.7')).rejects.toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_NO_DEVICE' }),
  );
});

test('a kernel without /dev/vfio', async () => {
  const { bdf } = findDevice('edu');
  await bind(bdf);
  renameSync('/dev/vfio', '/dev/vfio.away');
  try {
    await expect(openDevice(bdf)).rejects.toThrow(
      expect.objectContaining({
        code: 'ERR_VFIO_UNAVAILABLE',
        hint: expect.stringContaining('modprobe vfio-pci'),
      }),
    );
  } finally {
    renameSync('/dev/vfio.away', '/dev/vfio');
  }
  await (await openDevice(bdf)).close();
});

test('a group of two with one under a kernel driver is not viable, and the other is named', async () => {
  const [first, second] = findDevices('e1000e') as [PciDevice, PciDevice];
  execFileSync('modprobe', ['e1000e']);
  await bind(first.bdf);
  await bind(second.bdf, 'e1000e');
  await expect(openDevice(first.bdf)).rejects.toThrow(
    expect.objectContaining({
      code: 'ERR_VFIO_GROUP_NOT_VIABLE',
      hint: expect.stringContaining(`${second.bdf} (e1000e)`),
    }),
  );
  await bind(second.bdf);
  const [a, b] = await Promise.all([openDevice(first.bdf), openDevice(second.bdf)]);
  expect(a.dma).toBe(b.dma);
  await Promise.all([a.close(), b.close()]);
  execFileSync('modprobe', ['-r', 'e1000e']);
});

describe('binding', () => {
  test('restores driver and override, once', async () => {
    const { bdf } = findDevice('edu');
    const binding = await bindDriver(bdf);
    expect(readPciDevice(bdf).driver).toBe('vfio-pci');
    expect(binding.previousDriver).toBeUndefined();
    await binding.restore();
    expect(readPciDevice(bdf).driver).toBeUndefined();
    await bind(bdf);
    await binding.restore();
    expect(readPciDevice(bdf).driver).toBe('vfio-pci');
  });

  test('an open device is refused; forced, the unbind waits for the close, which does not wait for it', async () => {
    const { bdf, path } = findDevice('edu');
    const binding = await bindDriver(bdf);
    const device = await openDevice(bdf);
    // Whoever listens closes it.
    const asked = new Promise<void>((resolve) => device.irq('req').on(() => resolve()));
    await expect(binding.restore()).rejects.toThrow(
      expect.objectContaining({ code: 'EBUSY', message: expect.stringContaining('is open in') }),
    );
    const restored = binding.restore({ force: true });
    await asked;
    // The kernel has the device locked now: reading these does not wait for it.
    expect([device.sriov.numVfs, existsSync(`${path}/driver_override`)]).toEqual([0, true]);
    expect(readPciDevice(bdf).bdf).toBe(bdf);
    await device.close();
    await restored;
    expect(readPciDevice(bdf).driver).toBeUndefined();
  });

  test('a driver that does not take the device: it has its old one again', async () => {
    const { bdf } = findDevice('edu');
    await bind(bdf);
    await expect(bindDriver(bdf, 'e1000e')).rejects.toThrow(
      expect.objectContaining({ name: 'VfioError' }),
    );
    expect(readPciDevice(bdf).driver).toBe('vfio-pci');
  });

  test.each(['no-such-driver', '', '../../kernel'])('driver %j is refused', async (driver) => {
    await expect(bindDriver(findDevice('edu').bdf, driver)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_UNAVAILABLE' }),
    );
  });

  test('the members of a group say who blocks', async () => {
    const [first, second] = findDevices('e1000e') as [PciDevice, PciDevice];
    await bind(first.bdf);
    const members = iommuGroupMembers(readPciDevice(first.bdf).iommuGroup!);
    const blocks = Object.fromEntries(members.map((member) => [member.bdf, member.blocks]));
    expect(blocks).toMatchObject({ [first.bdf]: false, [second.bdf]: false });
  });
});
