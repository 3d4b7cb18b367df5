/** Checks of the nodes in /dev that a device is opened by: who has them, who may open them. */
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { hints } from '../hints';
import { deviceNodes, groupNode } from '../pci/device-nodes';
import { findHolders } from '../pci/holders';
import { DEV, DEV_VFIO } from '../pci/paths';
import type { PciDevice } from '../pci/sysfs';
import { isVfioDriver } from '../pci/vfio-driver';
import { type Finding, ok } from './finding';
import { shell } from './shell';

/** `openDevice` takes one way of the two: its own node and /dev/iommu, or its group's and the container. */
export function checkNodes(device: PciDevice): Finding[] {
  const nodes = deviceNodes(device);
  const own = nodes.filter((path) => !isGroupNode(path));
  const iommu = join(DEV, 'iommu');
  const needed =
    own.length > 0 && existsSync(iommu)
      ? [...own, iommu]
      : [...nodes.filter(isGroupNode), join(DEV_VFIO, 'vfio')].filter((path) => existsSync(path));
  const future = nodes.length === 0 ? [checkFutureNode(device)] : [];
  return [
    ...nodes.flatMap(checkHolders),
    ...future,
    ...needed.map((path) => checkAccess(path, device)),
  ];
}

const isGroupNode = (path: string) => !path.includes('/devices/');

function checkHolders(path: string): Finding[] {
  const holders = findHolders(path);
  if (holders.length === 0) return [];
  const pids = holders.flatMap((holder) => /\(pid (\d+)/.exec(holder)?.[1] ?? []);
  return [
    {
      id: isGroupNode(path) ? 'group-held' : 'device-held',
      level: 'blocked',
      evidence: `${path} is open in ${holders.join(', ')}`,
      meaning: 'it can be opened once, and stays busy until its files and mappings are gone',
      fix: {
        text: hints.groupBusy(path, holders),
        commands: [],
        byHand: pids.length > 0 ? [shell`kill ${pids}`] : [],
        risk: 'that process loses the device, and what it had under way',
        reboot: false,
      },
    },
  ];
}

function accessible(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The node comes with the driver, and is root's unless a rule of udev gives it away. */
function checkFutureNode({ iommuGroup, driver }: PciDevice): Finding {
  const uid = process.getuid?.();
  const path = iommuGroup === undefined ? join(DEV_VFIO, 'noiommu-*') : groupNode(iommuGroup);
  if (isVfioDriver(driver)) {
    return {
      id: 'node-missing',
      level: 'blocked',
      evidence: `${path} does not exist, though ${driver} is bound`,
      meaning: 'the device has no node here: this is a container that was not given it, it seems',
      fix: { text: hints.passNode(path), commands: [], risk: deviceGiven, reboot: false },
    };
  }
  const evidence = `${path} does not exist before it is bound; uid ${uid}`;
  if (uid === 0) return ok('permission', evidence, 'root may open it then');
  return {
    id: 'permission',
    level: 'warning',
    evidence,
    meaning: "the node will be root's, unless a rule of udev gives it to this user",
    fix: {
      text:
        iommuGroup === undefined
          ? hints.nodePermission(path)
          : hints.groupPermission(path, iommuGroup),
      commands: [],
      risk: deviceGiven,
      reboot: false,
    },
  };
}

const deviceGiven = 'that user has the device, with its DMA in what the IOMMU lets it';

function checkAccess(path: string, { iommuGroup }: PciDevice): Finding {
  if (accessible(path)) return ok('permission', path, 'this user may open it');
  const isGroups = iommuGroup !== undefined && path === groupNode(iommuGroup);
  return {
    id: 'permission',
    level: 'blocked',
    evidence: `${path} is not readable and writable for uid ${process.getuid?.()}`,
    meaning: 'this user may not open it',
    fix: {
      text: isGroups ? hints.groupPermission(path, iommuGroup) : hints.nodePermission(path),
      commands: [shell`chown "\${SUDO_USER:-root}" ${path}`],
      risk: deviceGiven,
      reboot: false,
    },
  };
}
