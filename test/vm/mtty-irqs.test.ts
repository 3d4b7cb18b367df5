/**
 * Interrupts of a device that is software only: mtty raises them as a serial port does.
 *
 * @kernel lab
 */
import { readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createMdev, type Device, Eventfd, type IrqKind, removeMdev } from 'vfio';
import { Group } from '../../src/device/group';
import { VFIO_PCI_MSI_IRQ_INDEX as MSI, VFIO_PCI_NUM_IRQS } from '../../src/ioctl/abi/constants';
import { deviceGetInfo, deviceSetIrqsEventfds } from '../../src/ioctl/device';
import { native } from '../../src/native';
import { hear, openMtty, removeMttys, say } from './mtty';

/** Registers of a 16550A in BAR 0. */
const IER = 1;
const FCR = 2;
/** An interrupt for data received; after each byte of the queue. */
const RECEIVED = 1;
const QUEUE = 1;

describe('mtty', () => {
  let port: Device;

  beforeEach(async () => {
    port = await openMtty();
  });

  afterEach(async () => {
    await port.close();
    await removeMttys();
  });

  test.each(['intx', 'msi'] as const)(
    '%s: one for each byte that is heard in time',
    async (kind) => {
      const irq = port.irq(kind);
      expect([irq.count, irq.maskable]).toEqual([1, kind === 'intx']);
      const heard: string[] = [];
      irq.on(() => {
        heard.push(hear(port));
      });
      await irq.enable();
      port.region('bar0').write8(FCR, QUEUE);
      port.region('bar0').write8(IER, RECEIVED);
      for (const [n, letter] of [...'abc'].entries()) {
        say(port, letter);
        while (heard.length === n) await new Promise(setImmediate);
      }
      expect(heard).toEqual(['a', 'b', 'c']);
      await irq.disable();
      say(port, 'd');
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(heard).toHaveLength(3);
    },
  );

  test('one kind at a time; MSI cannot be masked; others it has not', async () => {
    expect(port.irqKinds()).toEqual(['intx', 'msi']);
    await port.irq('msi').enable();
    await expect(port.irq('intx').enable()).rejects.toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    expect(() => port.irq('msi').mask()).toThrow(expect.objectContaining({ code: 'ENOTTY' }));
    expect(() => port.irq('req' as IrqKind)).toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_NO_INTERRUPT' }),
    );
  });

  test('SET_IRQS is EINVAL until GET_INFO has been asked', async () => {
    const uuid = await createMdev({ parent: 'mtty', id: 'mtty-1' });
    const link = readlinkSync(join('/sys/bus/mdev/devices', uuid, 'iommu_group'));
    const group = await Group.acquire(Number(basename(link)));
    const fd = await group.getDeviceFd(uuid);
    const eventfd = new Eventfd();
    const enable = () => deviceSetIrqsEventfds(fd, MSI, 0, [eventfd.fd]);
    await expect(enable()).rejects.toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(deviceGetInfo(fd).numIrqs).toBe(VFIO_PCI_NUM_IRQS);
    await enable();
    await native.closeAsync(fd);
    await group.release();
    eventfd.close();
    await removeMdev(uuid);
  });
});
