/**
 * VFIO_DEVICE_SET_IRQS as the kernel takes and refuses it, without what the library makes of it.
 *
 * @kernel stock
 */
import { Eventfd } from 'vfio';
import { Group } from '../../src/device/group';
import * as c from '../../src/ioctl/abi/constants';
import { vfio_irq_set } from '../../src/ioctl/abi/structs';
import { callStruct } from '../../src/ioctl/call';
import { deviceGetInfo, deviceGetIrqInfo } from '../../src/ioctl/device';
import { native } from '../../src/native';
import { bound, findDevice } from './lab-devices';

const { VFIO_PCI_INTX_IRQ_INDEX: INTX, VFIO_PCI_MSI_IRQ_INDEX: MSI } = c;
const { VFIO_PCI_MSIX_IRQ_INDEX: MSIX } = c;
const NONE = c.VFIO_IRQ_SET_DATA_NONE;
const BOOL = c.VFIO_IRQ_SET_DATA_BOOL;
const EVENTFD = c.VFIO_IRQ_SET_DATA_EVENTFD;
const MASK = c.VFIO_IRQ_SET_ACTION_MASK;
const UNMASK = c.VFIO_IRQ_SET_ACTION_UNMASK;
const TRIGGER = c.VFIO_IRQ_SET_ACTION_TRIGGER;

bound('edu', 'igb');

let group: Group;
let fd: number;
let eventfds: Eventfd[];

async function open(kind: 'edu' | 'igb'): Promise<void> {
  const { bdf, iommuGroup } = findDevice(kind);
  group = await Group.acquire(iommuGroup!);
  fd = await group.getDeviceFd(bdf);
  deviceGetInfo(fd);
  eventfds = Array.from({ length: 3 }, () => new Eventfd());
}

afterEach(async () => {
  await native.closeAsync(fd);
  await group.release();
  for (const eventfd of eventfds) eventfd.close();
});

interface Range {
  readonly start?: number;
  readonly count?: number;
}

function setIrqs(index: number, flags: number, data: Uint8Array, range: Range = {}): void {
  const { start = 0, count = 1 } = range;
  const arg = vfio_irq_set.create(data.length);
  Object.assign(arg, { flags, index, start, count });
  arg.bytes.set(data, vfio_irq_set.size);
  callStruct(fd, 'VFIO_DEVICE_SET_IRQS', arg);
}

const nothing = new Uint8Array();
const fds = (...list: Eventfd[]) => new Uint8Array(Int32Array.from(list, (e) => e.fd).buffer);
const counts = () => eventfds.map((eventfd) => eventfd.read());

test.each([
  ['two kinds of data', INTX, NONE | BOOL | TRIGGER, 1],
  ['two actions', INTX, NONE | MASK | UNMASK, 1],
  ['no action', INTX, NONE, 1],
  ['no data', INTX, TRIGGER, 1],
  ['more interrupts than there are', INTX, NONE | TRIGGER, 2],
  ['a kind that is off', MSI, NONE | TRIGGER, 1],
  ['less data than is said', INTX, EVENTFD | TRIGGER, 1],
])('%s is refused', async (_, index, flags, count) => {
  await open('edu');
  // Of the actions, older kernels say ENOTTY where newer ones say EINVAL.
  expect(() => setIrqs(index, flags, nothing, { count })).toThrow(
    expect.objectContaining({ code: expect.stringMatching(/^(EINVAL|ENOTTY)$/) }),
  );
});

test('INTx: masked and unmasked by none, bool and, unmasked only, by eventfd', async () => {
  await open('edu');
  expect(deviceGetIrqInfo(fd, INTX)).toMatchObject({ count: 1, flags: 1 | 2 | 4 });
  const [trigger, unmask] = eventfds as [Eventfd, Eventfd];
  setIrqs(INTX, EVENTFD | TRIGGER, fds(trigger));
  for (const action of [MASK, UNMASK]) {
    setIrqs(INTX, NONE | action, nothing);
    setIrqs(INTX, BOOL | action, Uint8Array.of(1));
    setIrqs(INTX, BOOL | action, Uint8Array.of(0));
  }
  setIrqs(INTX, EVENTFD | UNMASK, fds(unmask));
  expect(() => setIrqs(INTX, EVENTFD | MASK, fds(unmask))).toThrow(
    expect.objectContaining({ code: 'ENOTTY' }),
  );
  setIrqs(INTX, BOOL | TRIGGER, Uint8Array.of(0));
  expect(counts()).toEqual([0, 0, 0]);
  setIrqs(INTX, BOOL | TRIGGER, Uint8Array.of(1));
  setIrqs(INTX, NONE | TRIGGER, nothing);
  expect(counts()).toEqual([2, 0, 0]);
});

test('MSI-X: triggered by none, which is a range, and by bool, which is a choice; never masked', async () => {
  await open('igb');
  setIrqs(MSIX, EVENTFD | TRIGGER, fds(...eventfds), { count: 3 });
  setIrqs(MSIX, BOOL | TRIGGER, Uint8Array.of(1, 0, 1), { count: 3 });
  expect(counts()).toEqual([1, 0, 1]);
  setIrqs(MSIX, NONE | TRIGGER, nothing, { start: 1, count: 2 });
  expect(counts()).toEqual([0, 1, 1]);
  for (const action of [MASK, UNMASK]) {
    expect(() => setIrqs(MSIX, NONE | action, nothing)).toThrow(
      expect.objectContaining({ code: 'ENOTTY' }),
    );
  }
  expect(() => setIrqs(MSI, EVENTFD | TRIGGER, fds(eventfds[0]!))).toThrow(
    expect.objectContaining({ code: 'EINVAL' }),
  );
});
