import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { AddressSpace } from '../dma/address-space';
import { Container, IOMMUFD_PATH } from '../dma/container';
import { closedError, invalidArgument, isErrno, VfioError } from '../errors';
import { GivenFd } from '../given-fd';
import { hints } from '../hints';
import { findHolders } from '../pci/holders';
import { blockingMembers } from '../pci/iommu-group';
import { type Attachment, closeAttachment } from './attachment';
import { type BusDevice, findDevice, hasVfioDriver } from './bus-device';
import { cdevPath, openCdev } from './cdev';
import { Device } from './device';
import { Group } from './group';
import { Place } from './open-devices';
import { keepingOpen } from './open-in';
import { Operations } from './operations';
import { vfTokenBytes } from './vf-token';

export interface OpenOptions {
  /** For a PF with SR-IOV: its VFs open only with this UUID. For a VF of such a PF: that UUID. */
  readonly vfToken?: string;
  /** Share the mappings of this space; without one, the device (or its group) gets one of its own. */
  readonly addressSpace?: AddressSpace;
  /**
   * The kernel's interface: groups and containers, or iommufd and character devices; 'auto' is
   * that of the address space, else iommufd where the kernel has all of it.
   */
  readonly backend?: 'auto' | 'group' | 'iommufd';
  /**
   * A descriptor that was opened elsewhere, for a process without the right to. It is duplicated: close
   * yours once the device is open, or the kernel does not get the device back at `device.close()`.
   */
  readonly fds?: { readonly group: number } | { readonly device: number };
  /** Without an IOMMU: devices reach all memory, addresses are physical. Root only; taints the kernel. */
  readonly unsafe?: 'noiommu';
  /**
   * For how many milliseconds to wait for a device that is in use (EBUSY): a process that was killed holds
   * it until the kernel has reset the device, for some seconds. 0 unless given.
   */
  readonly waitMs?: number;
}

/**
 * Open a PCI device that is bound to vfio-pci (see `bindDriver`), by its address; a mediated device by
 * its UUID, or a platform device by its name in sysfs. Bus master is off. When the kernel
 * asks for the device back (an unbind, or VFs that are to go), it is closed, unless somebody listens
 * by `device.on('request')` and so takes that upon himself. In one thread, a device is open once.
 * @throws VfioError: ERR_VFIO_INVALID_BDF, ERR_VFIO_INVALID_UUID, ERR_VFIO_NO_DEVICE,
 * ERR_VFIO_NOT_BOUND, ERR_VFIO_NO_IOMMU_GROUP, ERR_VFIO_UNAVAILABLE, ERR_VFIO_GROUP_NOT_VIABLE,
 * ERR_VFIO_OTHER_ADDRESS_SPACE, EBUSY (in use), EACCES (permission, or the VF token), EINVAL (a
 * token that is not taken)
 */
export async function openDevice(address: string, options: OpenOptions = {}): Promise<Device> {
  const { fds, waitMs = 0, addressSpace } = options;
  const given = fds && new GivenFd('group' in fds ? fds.group : fds.device);
  try {
    if (!(waitMs >= 0)) throw invalidArgument(`not a time in milliseconds: ${String(waitMs)}`);
    if (addressSpace !== undefined && !(addressSpace instanceof AddressSpace)) {
      throw invalidArgument(`not an address space: ${typeof addressSpace}`);
    }
    for (const deadline = Date.now() + waitMs; ; ) {
      try {
        return await open(address, options, given);
      } catch (error) {
        // A descriptor is closed by the first try.
        if (given || !isErrno(error, 'EBUSY') || Date.now() >= deadline) throw error;
      }
      await delay(RETRY_MS);
    }
  } finally {
    given?.[Symbol.dispose]();
  }
}

const RETRY_MS = 50;

async function open(
  address: string,
  options: OpenOptions,
  given: GivenFd | undefined,
): Promise<Device> {
  const device = findDevice(address);
  const { vfToken, addressSpace } = options;
  if (vfToken !== undefined) vfTokenBytes(vfToken);
  if (addressSpace?.closed) throw closedError('address space');
  assertBound(device);
  const attach = interfaceFor(device, options) === 'iommufd' ? attachCdev : attachGroup;
  const place = await Place.take(device.name);
  try {
    const opening = () => openAttached(device, place, () => attach(device, options, given));
    return await (addressSpace ? keepingOpen(addressSpace, opening) : opening());
  } catch (error) {
    place.leave();
    throw error;
  }
}

async function openAttached(
  { name }: BusDevice,
  place: Place,
  attach: () => Promise<Attachment>,
): Promise<Device> {
  const attachment = await attach();
  const device = await construct(name, attachment, () => place.leave());
  if (attachment.space.closed) {
    await device.close();
    throw closedError('address space');
  }
  place.hold(device);
  return device;
}

async function construct(
  name: string,
  attachment: Attachment,
  onClosed: () => void,
): Promise<Device> {
  try {
    return new Device(name, attachment, onClosed);
  } catch (error) {
    await closeAttachment(name, attachment);
    throw error;
  }
}

/** The first release whose BIND_IOMMUFD takes VF tokens soundly. */
const TOKEN_BY_IOMMUFD = [6, 19];

function interfaceFor(device: BusDevice, options: OpenOptions): 'group' | 'iommufd' {
  const chosen = choose(device, options);
  const { fds } = options;
  if (!fds || (chosen === 'group') === 'group' in fds) return chosen;
  const given = 'group' in fds ? 'group' : 'device';
  throw new VfioError(
    'ERR_VFIO_INVALID_ARGUMENT',
    `${device.name} is to be opened by ${chosen}, and was given a descriptor of a ${given}`,
    { device: device.name, hint: "{ group } goes with backend 'group', { device } with 'iommufd'" },
  );
}

function choose(device: BusDevice, options: OpenOptions): 'group' | 'iommufd' {
  const { backend = 'auto', addressSpace, fds, unsafe, vfToken } = options;
  if (backend !== 'auto') return backend;
  if (unsafe) return 'group';
  if (fds) return 'group' in fds ? 'group' : 'iommufd';
  if (addressSpace) return addressSpace.kernelSpace instanceof Container ? 'group' : 'iommufd';
  if (vfToken !== undefined && kernelBefore(TOKEN_BY_IOMMUFD)) return 'group';
  return existsSync(IOMMUFD_PATH) && cdevPath(device) !== undefined ? 'iommufd' : 'group';
}

function kernelBefore([major, minor]: readonly number[]): boolean {
  const [thisMajor = 0, thisMinor = 0] = release().split('.').map(Number);
  return thisMajor < major! || (thisMajor === major && thisMinor < minor!);
}

function assertBound(device: BusDevice): void {
  if (hasVfioDriver(device)) return;
  const { name, path, driver } = device;
  throw new VfioError('ERR_VFIO_NOT_BOUND', `${name} is not bound to vfio-pci`, {
    device: name,
    path,
    hint: hints.notBound(name, driver),
  });
}

async function attachCdev(
  device: BusDevice,
  { vfToken, addressSpace }: OpenOptions,
  given: GivenFd | undefined,
): Promise<Attachment> {
  return openCdev(device, { vfToken, addressSpace, given }).catch((error) => {
    throw explain(error, device, vfToken);
  });
}

async function attachGroup(
  device: BusDevice,
  { vfToken, addressSpace, unsafe }: OpenOptions,
  given: GivenFd | undefined,
): Promise<Attachment> {
  if (device.iommuGroup === undefined) {
    throw new VfioError('ERR_VFIO_NO_IOMMU_GROUP', `${device.name} is in no IOMMU group`, {
      device: device.name,
      path: device.path,
      hint: hints.noIommuGroup(),
    });
  }
  const options = { addressSpace, unsafe, given };
  const group = await Group.acquire(device.iommuGroup, options).catch((error) => {
    throw explain(error, device, vfToken);
  });
  try {
    const name = vfToken === undefined ? device.name : `${device.name} vf_token=${vfToken}`;
    const fd = await keepingOpen(group.space, () => group.getDeviceFd(name));
    const operations = new Operations(device.name);
    return { fd, space: group.space, operations, release: () => group.release() };
  } catch (error) {
    await group.release();
    throw explain(error, device, vfToken);
  }
}

/** The requests that take a VF token. */
const ATTACHES: ReadonlySet<string> = new Set([
  'VFIO_GROUP_GET_DEVICE_FD',
  'VFIO_DEVICE_BIND_IOMMUFD',
]);

/** Only dmesg tells what the kernel meant by its errno. */
function explain(error: unknown, device: BusDevice, vfToken: string | undefined): unknown {
  const { name, iommuGroup } = device;
  if (!(error instanceof VfioError) || error.syscall !== 'ioctl') return error;
  const { code, message, errno, syscall, ioctl, path, cause } = error;
  const details = { errno, syscall, ioctl, path, device: name, cause };
  switch (code) {
    case 'EACCES':
      if (!ATTACHES.has(ioctl ?? '')) break;
      return new VfioError(code, message, { ...details, hint: hints.tokenRequired() });
    case 'EINVAL': {
      if (ioctl === 'VFIO_GROUP_SET_CONTAINER') {
        return new VfioError('EBUSY', `IOMMU group ${iommuGroup} is in use`, {
          ...details,
          hint: hints.groupInContainer(),
        });
      }
      if (!ATTACHES.has(ioctl ?? '')) break;
      const node = ioctl === 'VFIO_DEVICE_BIND_IOMMUFD' ? cdevPath(device) : undefined;
      const holders = node === undefined ? [] : findHolders(node);
      if (node === undefined || holders.length === 0) {
        const hint = vfToken === undefined ? error.hint : hints.tokenNotTaken();
        return new VfioError(code, message, { ...details, hint });
      }
      // A character device can be opened by many, but bound once.
      return new VfioError('EBUSY', `${node} is in use`, {
        ...details,
        path: node,
        hint: hints.groupBusy(node, holders),
      });
    }
    case 'EPERM': {
      const blockers = iommuGroup === undefined ? [] : blockingMembers(iommuGroup);
      if (iommuGroup === undefined || blockers.length === 0) {
        return new VfioError(code, message, { ...details, hint: hints.groupOwned() });
      }
      return new VfioError('ERR_VFIO_GROUP_NOT_VIABLE', `IOMMU group ${iommuGroup} is not viable`, {
        ...details,
        hint: hints.groupNotViable(iommuGroup, blockers),
      });
    }
  }
  return new VfioError(code, message, { ...details, hint: error.hint });
}
