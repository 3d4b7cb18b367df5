/** Checks of one device: its group, driver, nodes and resets. */
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { hints } from '../hints';
import { isBdf } from '../pci/address';
import { deviceNodes, groupNode } from '../pci/device-nodes';
import { findHolders } from '../pci/holders';
import { usesOf } from '../pci/in-use';
import { GROUPS, iommuGroupMembers, isUnprotected } from '../pci/iommu-group';
import { DEV, SYS } from '../pci/paths';
import { isBridge, readinessOf } from '../pci/readiness';
import { resetMethods } from '../pci/reset-methods';
import { Sriov } from '../pci/sriov';
import { type PciDevice, readAttribute } from '../pci/sysfs';
import { sharingReasons } from '../topology/sharing';
import { flatten, readTopology } from '../topology/tree';
import { type Finding, ok } from './finding';
import { shell } from './shell';

export function checkGroup(device: PciDevice): Finding {
  const { bdf, path, iommuGroup } = device;
  if (isBridge(device)) {
    const evidence = `${path}/class: 0x${device.class.toString(16).padStart(6, '0')}`;
    return {
      ...{ id: 'bridge', level: 'blocked', evidence, fix: null },
      meaning: 'vfio-pci takes no bridges',
    };
  }
  if (iommuGroup === undefined) {
    return {
      ...{ id: 'no-group', level: 'blocked', evidence: `${path}/iommu_group does not exist` },
      meaning: 'no IOMMU is in front of it',
      fix: { text: hints.noIommuGroup(), commands: [], risk: 'see iommu-off', reboot: true },
    };
  }
  if (isUnprotected(iommuGroup)) {
    return {
      ...{ id: 'unprotected', level: 'warning', evidence: `${GROUPS}/${iommuGroup}: vfio-noiommu` },
      meaning: hints.unprotected(),
      fix: {
        ...{ text: hints.noIommuGroup(), commands: [] },
        ...{ risk: 'DMA of broken devices and firmware is refused from then on', reboot: true },
      },
    };
  }
  const members = iommuGroupMembers(iommuGroup);
  const evidence = `${path}/iommu_group: ${iommuGroup}, with ${members.map(({ bdf, driver }) => `${bdf} (${driver ?? 'no driver'})`).join(', ')}`;
  const { blockers } = readinessOf(device);
  if (blockers.length === 0)
    return ok('group-viable', evidence, 'nothing in its group is in the way');
  // Members on other buses (platform, mdev) are named in the text only: `vfio bind` is for PCI.
  const others = members
    .filter((member) => member.blocks && member.bdf !== bdf)
    .map((member) => member.bdf)
    .filter(isBdf);
  return {
    ...{ id: 'group-blocked', level: 'blocked', evidence },
    meaning: `its group cannot be opened: ${blockers.join(', ')} does DMA for the kernel`,
    fix: {
      text: hints.groupNotViable(iommuGroup, blockers),
      commands: others.length > 0 ? [shell`vfio bind ${others}`] : [],
      ...{ risk: 'the kernel loses those devices, until vfio restore', reboot: false },
    },
  };
}

export function checkDriver(device: PciDevice): Finding[] {
  const { bdf, path, driver } = device;
  const evidence = `${path}/driver: ${driver ?? 'none'}`;
  const bound = driver?.includes('vfio') ?? false;
  if (bound) return [ok('bound', evidence, 'it is bound to a vfio driver')];
  const uses = usesOf(device).map(({ text }) => text);
  const inUse: Finding[] =
    uses.length === 0
      ? []
      : [
          {
            id: 'in-use',
            level: 'blocked',
            evidence: uses.join('; '),
            meaning: 'the system needs it',
            fix: null,
          },
        ];
  return [
    ...inUse,
    {
      ...{
        id: 'not-bound',
        level: 'warning',
        evidence,
        meaning: 'it can be opened once it is bound to vfio-pci',
      },
      fix: {
        text: hints.notBound(bdf, driver),
        // A script must not do what takes a --force.
        commands: uses.length === 0 ? [shell`vfio bind ${bdf}`] : [],
        risk:
          driver === undefined ? 'none' : `what ${driver} gives is gone until vfio restore ${bdf}`,
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

export function checkReset({ bdf, path }: PciDevice): Finding {
  const methods = resetMethods(bdf);
  const evidence = `${path}/reset_method: ${methods.join(' ') || 'none'}`;
  if (methods.length > 0) return ok('reset', evidence, 'the kernel can reset it alone');
  const meaning =
    'nothing resets it between users but a reset of its whole bus: it may keep its state';
  return { ...{ id: 'no-reset', level: 'warning', evidence, meaning, fix: null } };
}

const enableSriov = join(SYS, 'module/vfio_pci/parameters/enable_sriov');

export function checkSriov({ bdf, driver, physfn }: PciDevice): Finding[] {
  if (physfn !== undefined) {
    const meaning = 'a VF; if its PF is bound to vfio-pci, it opens with the VF token of that only';
    return [ok('vf', `physfn: ${physfn}`, meaning)];
  }
  const { numVfs, totalVfs } = new Sriov(bdf);
  if (totalVfs === 0) return [];
  const evidence = `${numVfs} of ${totalVfs} VFs`;
  if (driver !== 'vfio-pci') return [ok('pf', evidence, 'a PF')];
  const pf = ok('pf', evidence, 'a PF; its VFs open with its VF token only');
  if (readAttribute(enableSriov) !== 'N') return [pf];
  return [
    pf,
    {
      id: 'sriov-disabled',
      level: numVfs === 0 ? 'warning' : 'ok',
      evidence: `${enableSriov}: N`,
      meaning: 'vfio-pci makes no VFs',
      fix: {
        text: hints.sriovDisabled(),
        commands: [shell`echo Y > ${enableSriov}`],
        risk: 'VFs act for whoever has the PF: the kernel trusts that driver then',
        reboot: false,
      },
    },
  ];
}

export function checkNuma({ path }: PciDevice): Finding[] {
  const file = join(path, 'numa_node');
  const node = Number(readAttribute(file) ?? -1);
  if (!Number.isInteger(node) || node < 0) return [];
  const meaning = `memory and processors of node ${node} are nearest: numactl -N ${node} -m ${node}`;
  return [ok('numa', `${file}: ${node}`, meaning)];
}

/** Who has to have the same owner, and why. */
export function checkIsolation({ bdf, path, iommuGroup }: PciDevice): Finding[] {
  if (iommuGroup === undefined || isUnprotected(iommuGroup)) return [];
  const roots = readTopology();
  const members = flatten(roots).filter((node) => node.iommuGroup === iommuGroup);
  const evidence = `${path}/iommu_group: ${iommuGroup}`;
  const others = members.filter((node) => node.bdf !== bdf && node.readiness !== 'bridge');
  if (others.length === 0) return [ok('isolated', evidence, 'it can have an owner of its own')];
  const names = others.map((node) => node.bdf).join(', ');
  const because = sharingReasons(roots, members).join('; ');
  return [ok('shared-group', evidence, `it has the same owner as ${names}: ${because}`)];
}
