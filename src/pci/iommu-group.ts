/** IOMMU groups: the units in which devices can be isolated, and so given to user space. */
import { join } from 'node:path';
import { isBdf } from './address';
import { SYS } from './paths';
import { listDirectory, type PciDevice, readAttribute, readLinkName } from './sysfs';
import { isVfioDriver } from './vfio-driver';

export const GROUPS = join(SYS, 'kernel/iommu_groups');

/**
 * Drivers that leave DMA to others (`driver_managed_dma` in the kernel), so do not block their group: that
 * of bridges, and the one that does nothing. A bridge with another driver blocks as any device does.
 */
const harmless = new Set(['pcieport', 'pci-stub']);

export interface GroupMember {
  /** A PCI address; of a member on another bus its name there. */
  readonly bdf: string;
  /** `pci`, `platform`, `mdev`; undefined where sysfs does not say. */
  readonly bus: string | undefined;
  readonly driver: string | undefined;
  /** A kernel driver uses it for DMA, so the group cannot be given to user space. */
  readonly blocks: boolean;
}

/** The devices of a group, by the group's own links; empty where there is no such group. */
export function iommuGroupMembers(group: number): GroupMember[] {
  const directory = join(GROUPS, String(group), 'devices');
  return listDirectory(directory).map((bdf) => {
    const path = join(directory, bdf);
    const driver = readLinkName(join(path, 'driver'));
    const bus = readLinkName(join(path, 'subsystem')) ?? (isBdf(bdf) ? 'pci' : undefined);
    // A device under any vfio driver, variants such as mlx5_vfio_pci included, has a vfio-dev directory (6.1).
    const vfio = isVfioDriver(driver) || listDirectory(join(path, 'vfio-dev')).length > 0;
    return { bdf, bus, driver, blocks: driver !== undefined && !vfio && !harmless.has(driver) };
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
