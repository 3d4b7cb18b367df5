/** IOMMU groups: the units in which devices can be isolated, and so given to user space. */
import { join } from 'node:path';
import { SYS } from './paths';
import { listDirectory, PCI_DEVICES, type PciDevice, readAttribute, readLinkName } from './sysfs';
import { isVfioDriver } from './vfio-driver';

export const GROUPS = join(SYS, 'kernel/iommu_groups');

/** Drivers that leave DMA to others (`driver_managed_dma` in the kernel), so do not block their group. */
const harmless = new Set(['pcieport', 'pci-stub']);

export interface GroupMember {
  readonly bdf: string;
  readonly driver: string | undefined;
  /** A kernel driver uses it for DMA, so the group cannot be given to user space. */
  readonly blocks: boolean;
}

/** The devices of a group; empty where there is no such group. */
export function iommuGroupMembers(group: number): GroupMember[] {
  return listDirectory(join(GROUPS, String(group), 'devices')).map((bdf) => {
    const path = join(PCI_DEVICES, bdf);
    const driver = readLinkName(join(path, 'driver'));
    // A device under any vfio driver, variants such as mlx5_vfio_pci included, has a vfio-dev directory (6.1).
    const vfio = isVfioDriver(driver) || listDirectory(join(path, 'vfio-dev')).length > 0;
    return { bdf, driver, blocks: driver !== undefined && !vfio && !harmless.has(driver) };
  });
}

/** Whether a group is one that VFIO made up for a device without an IOMMU in front (CONFIG_VFIO_NOIOMMU). */
export function isUnprotected(group: number): boolean {
  return readAttribute(join(GROUPS, String(group), 'name')) === 'vfio-noiommu';
}

/** Whether VFIO takes devices without an IOMMU in front, too (its module's enable_unsafe_noiommu_mode). */
export function allowsUnprotected(): boolean {
  return readAttribute(join(SYS, 'module/vfio/parameters/enable_unsafe_noiommu_mode')) === 'Y';
}

/**
 * Whether the kernel may yet put a device into a group: behind an IOMMU that the ACPI table VIOT
 * describes (virtio-iommu), it does so when it first probes a driver for the device.
 */
export function getsGroupWhenProbed({ driver, iommuGroup }: PciDevice): boolean {
  const hasIommu = listDirectory(join(SYS, 'class/iommu')).length > 0;
  return iommuGroup === undefined && driver === undefined && hasIommu;
}

/** `0000:00:1f.2 (ahci)` for each member that blocks. */
export function blockingMembers(group: number): string[] {
  return iommuGroupMembers(group)
    .filter(({ blocks }) => blocks)
    .map(({ bdf, driver }) => `${bdf} (${driver})`);
}
