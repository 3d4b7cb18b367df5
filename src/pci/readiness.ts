/** How far a device is from being opened through VFIO. */
import { getsGroupWhenProbed, iommuGroupMembers, isUnprotected } from './iommu-group';
import type { PciDevice } from './sysfs';

/** Bridges have another header, and vfio-pci takes none (PCI_BASE_CLASS_BRIDGE, host bridges included). */
const BRIDGE = 0x06;

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

export function isBridge(device: Pick<PciDevice, 'class'>): boolean {
  return device.class >>> 16 === BRIDGE;
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
