/**
 * VFIO_DEVICE_FEATURE on real devices: what they have, low power, and BARs as dma-bufs.
 *
 * @kernel each
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { type Device, openAddressSpace, openDevice } from 'vfio';
import { readAttribute } from '../../src/pci/sysfs';
import { deviceReads, deviceWrites, eduMask } from './edu-dma';
import { bound, findDevice } from './lab-devices';

/** NVM Express base specification, 3.1.3: capabilities (8 bytes), version. */
const CAP = 0x00;
const VS = 0x08;

bound('igb', 'edu', 'nvme');

const turn = () => new Promise(setImmediate);
const names = (dev: Device) => dev.features().map(({ name }) => name);

test('a PF with SR-IOV takes a VF token; others do not', async () => {
  const igb = await openDevice(findDevice('igb').bdf);
  expect(igb.features()).toContainEqual({ name: 'vfToken', get: false, set: true });
  await igb.close();
  const edu = await openDevice(findDevice('edu').bdf);
  expect(names(edu)).not.toContain('vfToken');
  expect(() => edu.setVfToken('2ab74924-c335-45f4-9b16-8569e5b08258')).toThrow(
    expect.objectContaining({ code: 'ENOTTY' }),
  );
  await edu.close();
});

test('features that vfio-pci has for no device here are not claimed', async () => {
  const nvme = await openDevice(findDevice('nvme').bdf);
  const never = ['migration', 'migrationState', 'dmaLoggingStart', 'busMaster', 'zpciError'];
  for (const name of never) expect(names(nvme)).not.toContain(name);
  await nvme.close();
});

describe('low power', () => {
  let nvme: Device;
  let path: string;

  beforeEach(async () => {
    const pci = findDevice('nvme');
    path = pci.path;
    nvme = await openDevice(pci.bdf);
    nvme.region('bar0').read32(VS);
  });

  afterEach(() => nvme.close());

  const power = () => [
    readAttribute(`${path}/power/runtime_status`),
    readAttribute(`${path}/power_state`),
  ];

  async function asleep(): Promise<void> {
    while (power()[0] !== 'suspended') await turn();
    expect(power()[1]).toMatch(/^D3(hot|cold)$/);
  }

  test('is a feature, and lasts until the exit', async () => {
    expect(names(nvme)).toEqual(
      expect.arrayContaining(['lowPowerEntry', 'lowPowerEntryWithWakeup', 'lowPowerExit']),
    );
    const bar = nvme.region('bar0');
    const version = bar.read32(VS);
    nvme.lowPower.enter();
    await asleep();
    expect(() => bar.read32(VS)).toThrow(expect.objectContaining({ code: 'EIO' }));
    // Awake for the time of the access, and no longer.
    expect(nvme.config.read16(0)).toBe(0x1b36);
    await asleep();
    expect(() => nvme.lowPower.enter()).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    nvme.lowPower.exit();
    expect(bar.read32(VS)).toBe(version);
    expect(power()).toEqual(['active', 'D0']);
    nvme.lowPower.exit();
  });

  test('with wakeup, ends when somebody else reaches for the device', async () => {
    const bar = nvme.region('bar0');
    const version = bar.read32(VS);
    const woken = new Promise<void>((onWakeup) => nvme.lowPower.enter({ onWakeup }));
    await asleep();
    await writeFile(`${path}/power/control`, 'on');
    await woken;
    expect(power()).toEqual(['active', 'D0']);
    await writeFile(`${path}/power/control`, 'auto');
    expect(bar.read32(VS)).toBe(version);
    // Again, and this time by an exit, which is no wakeup.
    const never = jest.fn();
    nvme.lowPower.enter({ onWakeup: never });
    await asleep();
    nvme.lowPower.exit();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(never).not.toHaveBeenCalled();
    expect(power()[1]).toBe('D0');
    expect(bar.read32(VS)).toBe(version);
  });

  test('a device can be closed in it', async () => {
    nvme.lowPower.enter({ onWakeup: () => {} });
    await asleep();
    await nvme.close();
    expect(() => nvme.lowPower.enter()).toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_CLOSED' }),
    );
    const again = await openDevice(nvme.bdf);
    expect(again.region('bar0').read32(VS)).not.toBe(0xffff_ffff);
    await again.close();
  });
});

const iommufd = existsSync('/dev/iommu');
if (!iommufd) console.info('no /dev/iommu in this kernel: no BAR as a dma-buf');

(iommufd ? describe : describe.skip)('a BAR as a dma-buf', () => {
  async function together() {
    const addressSpace = openAddressSpace({ backend: 'iommufd' });
    const edu = await openDevice(findDevice('edu').bdf, { addressSpace });
    const nvme = await openDevice(findDevice('nvme').bdf, { addressSpace });
    edu.enableBusMaster();
    return { addressSpace, edu, nvme };
  }

  /** What edu finds at an IOVA. */
  async function eduSees(edu: Device, iova: bigint): Promise<Uint32Array> {
    const buffer = await edu.dma.alloc(4096, eduMask);
    await deviceReads(edu, iova, 16);
    await deviceWrites(edu, buffer.iova, 16);
    const seen = buffer.u32.slice(0, 4);
    await buffer.close();
    return seen;
  }

  test('is mapped for another device, which reads its registers', async () => {
    const { addressSpace, edu, nvme } = await together();
    expect(nvme.features()).toContainEqual({ name: 'dmaBuf', get: true, set: false });
    const bar = nvme.region('bar0');
    const mapping = await addressSpace.mapRegion(bar, { size: 4096, ...eduMask });
    const seen = await eduSees(edu, mapping.iova);
    expect([...seen]).toEqual([CAP, CAP + 4, VS, VS + 4].map((offset) => bar.read32(offset)));
    expect(seen[2]).toBe(bar.read32(VS));
    await mapping.close();
    expect([...(await eduSees(edu, mapping.iova))]).toEqual([0, 0, 0, 0]);
    await addressSpace.close();
  });

  test('goes out of reach when its device is reset or closed, and can be unmapped then', async () => {
    const { addressSpace, edu, nvme } = await together();
    const bar = nvme.region('bar0');
    const map = () => addressSpace.mapRegion(bar, { size: 4096, ...eduMask });
    const first = await map();
    await nvme.reset();
    expect([...(await eduSees(edu, first.iova))]).toEqual([0, 0, 0, 0]);
    await first.close();
    const second = await map();
    expect((await eduSees(edu, second.iova))[2]).toBe(bar.read32(VS));
    await nvme.close();
    expect([...(await eduSees(edu, second.iova))]).toEqual([0, 0, 0, 0]);
    await second.close();
    await addressSpace.close();
  });

  test('is refused for other than whole pages, and for what is no BAR', async () => {
    const { addressSpace, nvme } = await together();
    const bar = nvme.region('bar0');
    expect(() => bar.exportDmaBuf(16, 4096)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => bar.exportDmaBuf(0, bar.size + 4096)).toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_OUT_OF_RANGE' }),
    );
    expect(() => nvme.config.exportDmaBuf(0, 256)).toThrow(
      expect.objectContaining({ name: 'VfioError' }),
    );
    await addressSpace.close();
  });
});
