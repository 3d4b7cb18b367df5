/** How far a device is from being opened through VFIO. */
import { join } from 'node:path';
import { getsGroupWhenProbed, iommuGroupMembers, isUnprotected } from './iommu-group';
import { type PciDevice, readStart } from './sysfs';

/** Base class of bridges of all kinds. */
const BRIDGE_CLASS = 0x06;
/** Sub-classes of bridges that stay with the kernel: host, PCI, CardBus and semi-transparent ones. */
const BRIDGE_SUBCLASSES = [0x00, 0x04, 0x07, 0x09];

/** Header type (PCI 3.0, 6.2.1): bit 7 is set in devices of several functions. */
const HEADER_TYPE = 0x0e;
const ALL_ONES = 0x7f;

export type Readiness =
  /** Bound to a vfio driver, and nothing in its group is in the way. */
  | 'ready'
  /** It, or another member of its group, has a kernel driver that does DMA. */
  | 'blocked'
  /** Only to be bound. */
  | 'unbound'
  | 'no-iommu'
  /** In a group, but one that VFIO made up: it reaches all memory. */
  | 'unprotected'
  | 'bridge';

export interface Verdict {
  readonly readiness: Readiness;
  /** Other members of its group that block it: `0000:00:1f.2 (ahci)`. */
  readonly blockers: readonly string[];
}

/**
 * By its header, as the kernel does: vfio-pci takes devices with the header of an endpoint (type 0) only, and
 * those whatever their class. By its class where config space is not readable or the device does not answer.
 */
export function isBridge(device: Pick<PciDevice, 'class' | 'path'>): boolean {
  const type = headerType(device.path);
  if (type !== undefined && type !== ALL_ONES) return type !== 0;
  return isBridgeClass(device) && BRIDGE_SUBCLASSES.includes((device.class >>> 8) & 0xff);
}

/** Host, ISA and other bridges included, most of which are endpoints to the kernel. */
export function isBridgeClass(device: Pick<PciDevice, 'class'>): boolean {
  return device.class >>> 16 === BRIDGE_CLASS;
}

function headerType(path: string): number | undefined {
  try {
    const header = readStart(join(path, 'config'), HEADER_TYPE + 1);
    return header.length > HEADER_TYPE ? header[HEADER_TYPE]! & 0x7f : undefined;
  } catch {
    return undefined;
  }
}

export function readinessOf(device: PciDevice): Verdict {
  if (isBridge(device)) return { readiness: 'bridge', blockers: [] };
  if (getsGroupWhenProbed(device)) return { readiness: 'unbound', blockers: [] };
  if (device.iommuGroup === undefined) return { readiness: 'no-iommu', blockers: [] };
  if (isUnprotected(device.iommuGroup)) return { readiness: 'unprotected', blockers: [] };
  const members = iommuGroupMembers(device.iommuGroup);
  const blockers = members
    .filter(({ bdf, blocks }) => blocks && bdf !== device.bdf)
    .map(({ bdf, driver }) => `${bdf} (${driver})`);
  const self = members.find(({ bdf }) => bdf === device.bdf);
  if (blockers.length > 0) return { readiness: 'blocked', blockers };
  const bound =
    device.driver !== undefined && device.driver !== 'pci-stub' && self?.blocks === false;
  return { readiness: bound ? 'ready' : 'unbound', blockers };
}
