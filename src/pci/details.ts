/** All that sysfs tells of one device that a driver's author asks for. */
import { join } from 'node:path';
import { isErrno } from '../errors';
import { readConfigSpace } from './config/read';
import { findHolders } from './holders';
import { readPciNames } from './ids';
import { describeDevice, type ListedDevice } from './inventory';
import { type GroupMember, iommuGroupMembers } from './iommu-group';
import { DEV_VFIO } from './paths';
import { resetMethods } from './reset-methods';
import { type BarResource, barResources } from './resources';
import { Sriov } from './sriov';
import { listDirectory, readAttribute, readPciDevice } from './sysfs';

export interface DeviceDetails extends ListedDevice {
  readonly driverOverride: string | null;
  /** `D0`, `D3hot`, as the kernel has it. */
  readonly powerState: string | null;
  /** Now and at best: `2.5 GT/s PCIe x1`. */
  readonly link: { readonly current: string; readonly max: string } | null;
  readonly bars: readonly BarResource[];
  /** Names of its capabilities, in the order of config space; null if that cannot be read. */
  readonly capabilities: readonly string[] | null;
  readonly resetMethods: readonly string[];
  readonly groupMembers: readonly GroupMember[];
  readonly vfs: readonly string[];
  /** What is opened to use it, and who has it open: `node (pid 123)`. */
  readonly nodes: readonly { readonly path: string; readonly holders: readonly string[] }[];
}

/** @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE */
export function deviceDetails(address: string): DeviceDetails {
  const pci = readPciDevice(address);
  const text = (name: string) => readAttribute(join(pci.path, name));
  const override = text('driver_override');
  const speed = text('current_link_speed');
  const cdevs = listDirectory(join(pci.path, 'vfio-dev')).map((name) => `devices/${name}`);
  const group = pci.iommuGroup === undefined ? [] : [String(pci.iommuGroup)];
  const existing = new Set(listDirectory(DEV_VFIO));
  const paths = [...group.filter((name) => existing.has(name)), ...cdevs];
  return {
    ...describeDevice(pci, readPciNames()),
    driverOverride: override === undefined || override === '(null)' ? null : override,
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
    vfs: new Sriov(pci.bdf).vfs(),
    nodes: paths
      .map((name) => join(DEV_VFIO, name))
      .map((path) => ({
        path,
        holders: findHolders(path),
      })),
  };
}

function capabilityNames(bdf: string): string[] | null {
  try {
    const { capabilities, extendedCapabilities } = readConfigSpace(bdf);
    return [...capabilities, ...extendedCapabilities].map(({ name }) => name);
  } catch (error) {
    const unreadable = ['ERR_VFIO_MALFORMED', 'ENOENT', 'EACCES', 'EPERM', 'EIO', 'ENODEV'];
    if (unreadable.some((code) => isErrno(error, code))) return null;
    throw error;
  }
}
