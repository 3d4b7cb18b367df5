/** Checks of the nodes in /dev that a device is opened by: who has them, who may open them. */
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { hints } from '../hints';
import { deviceNodes, groupNode } from '../pci/device-nodes';
import { findHolders } from '../pci/holders';
import { DEV } from '../pci/paths';
import type { PciDevice } from '../pci/sysfs';
import { type Finding, ok } from './finding';
import { shell } from './shell';

function accessible(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Its group's node and its own; /dev/iommu belongs to the latter. */
export function checkNodes(device: PciDevice): Finding[] {
  const nodes = deviceNodes(device);
  const iommu = join(DEV, 'iommu');
  const needed = !nodes.every(isGroupNode) && existsSync(iommu);
  const opened = needed ? [...nodes, iommu] : nodes;
  return [...nodes.flatMap(checkHolders), ...opened.map((path) => checkAccess(path, device))];
}

const isGroupNode = (path: string) => !path.includes('/devices/');

function checkHolders(path: string): Finding[] {
  const holders = findHolders(path);
  if (holders.length === 0) return [];
  return [
    {
      id: isGroupNode(path) ? 'group-held' : 'device-held',
      level: 'blocked',
      evidence: `${path} is open in ${holders.join(', ')}`,
      meaning: 'it can be opened once, and stays busy until its files and mappings are gone',
      fix: null,
    },
  ];
}

function checkAccess(path: string, { iommuGroup }: PciDevice): Finding {
  if (accessible(path)) return ok('permission', path, 'this user may open it');
  return {
    id: 'permission',
    level: 'blocked',
    evidence: `${path} is not readable and writable for uid ${process.getuid?.()}`,
    meaning: 'this user may not open it',
    fix: {
      text:
        iommuGroup !== undefined && path === groupNode(iommuGroup)
          ? hints.groupPermission(path, iommuGroup)
          : hints.nodePermission(path),
      commands: [shell`chown "\${SUDO_USER:-root}" ${path}`],
      risk: 'that user has the device, with its DMA in what the IOMMU lets it',
      reboot: false,
    },
  };
}
