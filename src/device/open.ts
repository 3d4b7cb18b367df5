import { existsSync } from 'node:fs';
import { release } from 'node:os';
import type { AddressSpace } from '../dma/address-space';
import { Container, IOMMUFD_PATH } from '../dma/container';
import { closedError, VfioError } from '../errors';
import { GivenFd } from '../given-fd';
import { hints } from '../hints';
import { native } from '../native';
import { findHolders } from '../pci/holders';
import { blockingMembers } from '../pci/iommu-group';
import type { Attachment } from './attachment';
import { type BusDevice, findDevice, hasVfioDriver } from './bus-device';
import { cdevPath, openCdev } from './cdev';
import { Device } from './device';
import { Group } from './group';
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
   * A descriptor that was opened elsewhere, for a process without the right to: owned from now on, and
   * closed if the device cannot be opened by it, or its group is open already.
   */
  readonly fds?: { readonly group: number } | { readonly device: number };
  /** Without an IOMMU: devices reach all memory, addresses are physical. Root only; taints the kernel. */
  readonly unsafe?: 'noiommu';
}

/**
 * Open a PCI device that is bound to vfio-pci (see `bindDriver`), by its address; a mediated device by
 * its UUID, or a platform device by its name in sysfs. Bus master is off. When the kernel
 * asks for the device back (an unbind, or VFs that are to go), it is closed, unless somebody listens
 * to `device.irq('req')` and so takes that upon himself.
 * @throws VfioError: ERR_VFIO_INVALID_BDF, ERR_VFIO_INVALID_UUID, ERR_VFIO_NO_DEVICE,
 * ERR_VFIO_NOT_BOUND, ERR_VFIO_NO_IOMMU_GROUP, ERR_VFIO_UNAVAILABLE, ERR_VFIO_GROUP_NOT_VIABLE,
 * ERR_VFIO_OTHER_ADDRESS_SPACE, EBUSY (in use), EACCES (permission, or the VF token), EINVAL (a
 * token that is not taken)
 */
export async function openDevice(address: string, options: OpenOptions = {}): Promise<Device> {
  const { fds } = options;
  const given = fds && new GivenFd('group' in fds ? fds.group : fds.device);
  try {
    return await open(address, options, given);
  } finally {
    given?.[Symbol.dispose]();
  }
}

async function open(
  address: string,
  options: OpenOptions,
  given: GivenFd | undefined,
): Promise<Device> {
  const device = findDevice(address);
  const { vfToken } = options;
  if (vfToken !== undefined) vfTokenBytes(vfToken);
  if (options.addressSpace?.closed) throw closedError('address space');
  assertBound(device);
  const attach = interfaceFor(device, options) === 'iommufd' ? attachCdev : attachGroup;
  const attachment = await attach(device, options, given);
  try {
    return new Device(device.name, attachment);
  } catch (error) {
    await native.closeAsync(attachment.fd);
    await attachment.release();
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
    throw explain(error, device);
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
  const group = await Group.acquire(device.iommuGroup, { addressSpace, unsafe, given });
  try {
    const name = vfToken === undefined ? device.name : `${device.name} vf_token=${vfToken}`;
    const fd = await group.getDeviceFd(name);
    return { fd, space: group.space, release: () => group.release() };
  } catch (error) {
    await group.release();
    throw explain(error, device);
  }
}

/** Only dmesg tells what the kernel meant by its errno. */
function explain(error: unknown, device: BusDevice): unknown {
  const { name, iommuGroup } = device;
  if (!(error instanceof VfioError) || error.syscall !== 'ioctl') return error;
  const { code, message, errno, syscall, ioctl, path, cause } = error;
  const details = { errno, syscall, ioctl, path, device: name, cause };
  switch (code) {
    case 'EACCES':
      return new VfioError(code, message, { ...details, hint: hints.tokenRequired() });
    case 'EINVAL': {
      const node = ioctl === 'VFIO_DEVICE_BIND_IOMMUFD' ? cdevPath(device) : undefined;
      const holders = node === undefined ? [] : findHolders(node);
      if (node === undefined || holders.length === 0) {
        return new VfioError(code, message, { ...details, hint: hints.tokenNotTaken() });
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
    default:
      return new VfioError(code, message, { ...details, hint: error.hint });
  }
}
