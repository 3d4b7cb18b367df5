/** Requests on a device descriptor. */
import { isErrno, VfioError } from '../errors';
import { VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP } from './abi/capability-constants';
import * as c from './abi/constants';
import * as s from './abi/structs';
import { callStruct, callStructAsync, callValueAsync } from './call';
import { type Capability, callWithCapabilities, trailing } from './capabilities';

export interface DeviceInfo {
  /** VFIO_DEVICE_FLAGS_*. */
  readonly flags: number;
  readonly numRegions: number;
  readonly numIrqs: number;
  /** Widths, in bits, of the PCIe AtomicOps that are completed up to the root bus (Linux 6.5). */
  readonly atomicOps: readonly AtomicOpWidth[];
  readonly capabilities: readonly Capability[];
}

export type AtomicOpWidth = 32 | 64 | 128;

function atomicOps(capabilities: readonly Capability[]): AtomicOpWidth[] {
  const found = capabilities.find(({ id }) => id === VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP);
  if (!found) return [];
  const [arg] = trailing(found, 0, 1, s.vfio_device_info_cap_pci_atomic_comp);
  const { flags } = arg!;
  const widths: [flag: number, width: AtomicOpWidth][] = [
    [c.VFIO_PCI_ATOMIC_COMP32, 32],
    [c.VFIO_PCI_ATOMIC_COMP64, 64],
    [c.VFIO_PCI_ATOMIC_COMP128, 128],
  ];
  return widths.filter(([flag]) => flags & flag).map(([, width]) => width);
}

export function deviceGetInfo(fd: number): DeviceInfo {
  const { info, capabilities } = callWithCapabilities(
    fd,
    'VFIO_DEVICE_GET_INFO',
    s.vfio_device_info,
    c.VFIO_DEVICE_FLAGS_CAPS,
  );
  return {
    flags: info.flags,
    numRegions: info.num_regions,
    numIrqs: info.num_irqs,
    atomicOps: atomicOps(capabilities),
    capabilities,
  };
}

export interface RegionInfo {
  readonly index: number;
  /** VFIO_REGION_INFO_FLAG_*. */
  readonly flags: number;
  /** Bytes; 0 where the device has no such region. */
  readonly size: number;
  /** Where it starts in the device's file. */
  readonly offset: number;
  readonly capabilities: readonly Capability[];
}

/** @throws EINVAL for an index that the device does not have. */
export function deviceGetRegionInfo(fd: number, index: number): RegionInfo {
  const { info, capabilities } = callWithCapabilities(
    fd,
    'VFIO_DEVICE_GET_REGION_INFO',
    s.vfio_region_info,
    c.VFIO_REGION_INFO_FLAG_CAPS,
    (arg) => {
      arg.index = index;
    },
  );
  return {
    index,
    flags: info.flags,
    size: Number(info.size),
    offset: Number(info.offset),
    capabilities,
  };
}

export interface IrqInfo {
  readonly index: number;
  /** VFIO_IRQ_INFO_*. */
  readonly flags: number;
  /** Vectors; 0 where the device has no interrupt of this kind. */
  readonly count: number;
}

/** @throws EINVAL for an index that the device does not have. */
export function deviceGetIrqInfo(fd: number, index: number): IrqInfo {
  const arg = s.vfio_irq_info.create();
  arg.index = index;
  callStruct(fd, 'VFIO_DEVICE_GET_IRQ_INFO', arg);
  return { index, flags: arg.flags, count: arg.count };
}

function irqSet(index: number, flags: number, start: number, count: number, extra = 0) {
  const arg = s.vfio_irq_set.create(extra);
  arg.flags = flags;
  arg.index = index;
  arg.start = start;
  arg.count = count;
  return arg;
}

function irqSetEventfds(index: number, action: number, start: number, eventfds: readonly number[]) {
  const flags = c.VFIO_IRQ_SET_DATA_EVENTFD | action;
  const arg = irqSet(index, flags, start, eventfds.length, 4 * eventfds.length);
  const data = new DataView(arg.bytes.buffer, s.vfio_irq_set.size);
  eventfds.forEach((eventfd, i) => {
    data.setInt32(4 * i, eventfd, true);
  });
  return arg;
}

/**
 * Bind eventfds to interrupts `start`, `start + 1`, ...; -1 unbinds one. The first call of a kind
 * enables it.
 * @throws ERR_VFIO_NO_INTERRUPT if the kernel cannot have as many vectors
 */
export async function deviceSetIrqsEventfds(
  fd: number,
  index: number,
  start: number,
  eventfds: readonly number[],
): Promise<void> {
  const arg = irqSetEventfds(index, c.VFIO_IRQ_SET_ACTION_TRIGGER, start, eventfds);
  const available = await callStructAsync(fd, 'VFIO_DEVICE_SET_IRQS', arg);
  // Not an error to the kernel, but nothing is enabled then.
  if (available > 0) {
    throw new VfioError(
      'ERR_VFIO_NO_INTERRUPT',
      `the kernel has ${available} vectors for the device, not ${start + eventfds.length}`,
      { ioctl: 'VFIO_DEVICE_SET_IRQS', hint: `enable at most ${available}` },
    );
  }
}

/** Bind the eventfd whose writers unmask an interrupt that is masked at each event (INTx). */
export async function deviceSetIrqsUnmaskEventfd(
  fd: number,
  index: number,
  eventfd: number,
): Promise<void> {
  const arg = irqSetEventfds(index, c.VFIO_IRQ_SET_ACTION_UNMASK, 0, [eventfd]);
  await callStructAsync(fd, 'VFIO_DEVICE_SET_IRQS', arg);
}

/** Disable all interrupts of a kind. */
export async function deviceSetIrqsNone(fd: number, index: number): Promise<void> {
  const flags = c.VFIO_IRQ_SET_DATA_NONE | c.VFIO_IRQ_SET_ACTION_TRIGGER;
  await callStructAsync(fd, 'VFIO_DEVICE_SET_IRQS', irqSet(index, flags, 0, 0));
}

/** `action`: VFIO_IRQ_SET_ACTION_MASK, _UNMASK, or _TRIGGER, which signals the eventfds as the device would. */
export function deviceSetIrqsAction(
  fd: number,
  index: number,
  action: number,
  start: number,
  count: number,
): void {
  const arg = irqSet(index, c.VFIO_IRQ_SET_DATA_NONE | action, start, count);
  callStruct(fd, 'VFIO_DEVICE_SET_IRQS', arg);
}

/** Function-level or bus reset, on the thread pool. @throws EAGAIN after surprise removal. */
export async function deviceReset(fd: number): Promise<void> {
  await callValueAsync(fd, 'VFIO_DEVICE_RESET');
}

/** VFIO_DEVICE_FEATURE with `data` behind the header; `flags` are VFIO_DEVICE_FEATURE_GET, _SET, _PROBE. */
export function deviceFeature(
  fd: number,
  feature: number,
  flags: number,
  data: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const arg = s.vfio_device_feature.create(data.length);
  arg.flags = flags | feature;
  arg.bytes.set(data, s.vfio_device_feature.size);
  callStruct(fd, 'VFIO_DEVICE_FEATURE', arg);
  return arg.bytes.subarray(s.vfio_device_feature.size);
}

/** Feature 0: the token that openers of the PF's VFs must show. `uuid`: 16 bytes, most significant first. */
export function deviceFeatureSetVfToken(fd: number, uuid: Uint8Array): void {
  deviceFeature(fd, c.VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, c.VFIO_DEVICE_FEATURE_SET, uuid);
}

/**
 * Feature 10: bus mastering of devices without PCI's config space (CDX).
 * @throws ENOTTY for all others
 */
export function deviceFeatureBusMaster(fd: number, op: 'set' | 'clear'): void {
  const arg = s.vfio_device_feature_bus_master.create();
  arg.op = op === 'set' ? c.VFIO_DEVICE_FEATURE_SET_MASTER : c.VFIO_DEVICE_FEATURE_CLEAR_MASTER;
  const flags = c.VFIO_DEVICE_FEATURE_SET;
  deviceFeature(fd, c.VFIO_DEVICE_FEATURE_BUS_MASTER, flags, arg.bytes);
}

/** Whether the device has a feature and, of VFIO_DEVICE_FEATURE_GET and _SET, can do all of `operations`. */
export function deviceFeatureProbe(fd: number, feature: number, operations: number): boolean {
  const flags = operations | c.VFIO_DEVICE_FEATURE_PROBE;
  try {
    deviceFeature(fd, feature, flags, new Uint8Array());
    return true;
  } catch (error) {
    if (['ENOTTY', 'EINVAL', 'EOPNOTSUPP'].some((code) => isErrno(error, code))) return false;
    throw error;
  }
}
