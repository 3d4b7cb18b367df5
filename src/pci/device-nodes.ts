/** The nodes in /dev/vfio that a device is opened by, and who has them open. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { findHolders } from './holders';
import { isUnprotected } from './iommu-group';
import { DEV_VFIO } from './paths';
import { type Process, processes } from './processes';
import { listDirectory, type PciDevice } from './sysfs';

/** Its group's and, where the kernel has them, its own; those that exist. */
export function deviceNodes({
  path,
  iommuGroup,
}: Pick<PciDevice, 'path' | 'iommuGroup'>): string[] {
  const group = iommuGroup === undefined ? [] : [groupNode(iommuGroup)];
  const own = listDirectory(join(path, 'vfio-dev'))
    .filter((name) => /^vfio\d+$/.test(name))
    .map((name) => join(DEV_VFIO, 'devices', name));
  return [...group, ...own].filter((node) => existsSync(node));
}

export function groupNode(group: number): string {
  return join(DEV_VFIO, isUnprotected(group) ? `noiommu-${group}` : String(group));
}

/** `node (pid 123) by fd 23`: who has it, or another device of its group, open. */
export function deviceHolders(
  device: Pick<PciDevice, 'path' | 'iommuGroup'>,
  among: readonly Process[] = processes(),
): string[] {
  return [...new Set(deviceNodes(device).flatMap((node) => findHolders(node, among)))];
}
