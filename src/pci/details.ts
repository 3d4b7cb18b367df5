/** All that sysfs tells of one device that a driver's author asks for. */
import { join } from 'node:path';
import { isErrno } from '../errors';
import { driverOverride } from './binding/bind';
import { readConfigSpace } from './config/read';
import { deviceNodes } from './device-nodes';
import { findHolders } from './holders';
import { readPciNames } from './ids';
import { describeDevice, type ListedDevice } from './inventory';
import { type GroupMember, iommuGroupMembers } from './iommu-group';
import { resetMethods } from './reset-methods';
import { type BarResource, barResources } from './resources';
import { readAttribute, readPciDevice } from './sysfs';
import { vfAddresses } from './virtual-functions';

export interface DeviceDetails extends ListedDevice {
  readonly driverOverride: string | null;
  /** `D0`, `D3hot`, as the kernel has it. */
  readonly powerState: string | null;
  /** Now and at best: `2.5 GT/s PCIe x1`. */
  readonly link: { readonly current: string; readonly max: string } | null;
  /** null where the kernel does not report them. */
  readonly bars: readonly BarResource[] | null;
  /** Names of its capabilities, in the order of config space; null if they cannot be read: root sees all. */
  readonly capabilities: readonly string[] | null;
  readonly resetMethods: readonly string[];
  readonly groupMembers: readonly GroupMember[];
  readonly vfs: readonly string[];
  /** What is opened to use it, and who has it open: `node (pid 123) by fd 23`. */
  readonly nodes: readonly { readonly path: string; readonly holders: readonly string[] }[];
}

/** @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE */
export function deviceDetails(address: string): DeviceDetails {
  const pci = readPciDevice(address);
  const text = (name: string) => readAttribute(join(pci.path, name));
  const speed = text('current_link_speed');
  return {
    ...describeDevice(pci, readPciNames()),
    driverOverride: driverOverride(pci.bdf) || null,
    powerState: text('power_state') ?? null,
    link:
      speed === undefined
        ? null
        : {
            current: `${speed} x${text('current_link_width')}`,
            max: `${text('max_link_speed')} x${text('max_link_width')}`,
          },
    bars: barResources(pci),
    capabilities: capabilityNames(pci.bdf),
    resetMethods: resetMethods(pci.bdf),
    groupMembers: pci.iommuGroup === undefined ? [] : iommuGroupMembers(pci.iommuGroup),
    vfs: vfAddresses(pci),
    nodes: deviceNodes(pci).map((path) => ({ path, holders: findHolders(path) })),
  };
}

/** What the kernel gives of config space without CAP_SYS_ADMIN. */
const HEADER_SIZE = 64;

function capabilityNames(bdf: string): string[] | null {
  try {
    const { size, header, capabilities, extendedCapabilities } = readConfigSpace(bdf);
    // The header, which everybody may read, says that there is more.
    if (size <= HEADER_SIZE && header.status.capabilityList) return null;
    return [...capabilities, ...extendedCapabilities].map(({ name }) => name);
  } catch (error) {
    const unreadable = ['ERR_VFIO_MALFORMED', 'ENOENT', 'EACCES', 'EPERM', 'EIO', 'ENODEV'];
    if (unreadable.some((code) => isErrno(error, code))) return null;
    throw error;
  }
}
