/** Checks of one device: its group, driver, nodes and resets. */
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { hints } from '../hints';
import { findHolders } from '../pci/holders';
import { usesOf } from '../pci/in-use';
import { iommuGroupMembers } from '../pci/iommu-group';
import { DEV_VFIO } from '../pci/paths';
import { isBridge, readinessOf } from '../pci/readiness';
import { resetMethods } from '../pci/reset-methods';
import { Sriov } from '../pci/sriov';
import type { PciDevice } from '../pci/sysfs';
import { type Finding, ok } from './finding';

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
  const members = iommuGroupMembers(iommuGroup);
  const evidence = `${path}/iommu_group: ${iommuGroup}, with ${members.map(({ bdf, driver }) => `${bdf} (${driver ?? 'no driver'})`).join(', ')}`;
  const { blockers } = readinessOf(device);
  if (blockers.length === 0)
    return ok('group-viable', evidence, 'nothing in its group is in the way');
  const others = members.filter((member) => member.blocks && member.bdf !== bdf);
  return {
    ...{ id: 'group-blocked', level: 'blocked', evidence },
    meaning: `its group cannot be opened: ${blockers.join(', ')} does DMA for the kernel`,
    fix: {
      text: hints.groupNotViable(iommuGroup, blockers),
      commands: [`vfio bind ${others.map((member) => member.bdf).join(' ')}`],
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
        commands: uses.length === 0 ? [`vfio bind ${bdf}`] : [],
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

export function checkNode({ iommuGroup }: PciDevice): Finding[] {
  if (iommuGroup === undefined) return [];
  const path = join(DEV_VFIO, String(iommuGroup));
  if (!existsSync(path)) return [];
  const holders = findHolders(path);
  const held: Finding[] =
    holders.length === 0
      ? []
      : [
          {
            ...{
              id: 'group-held',
              level: 'blocked',
              evidence: `${path} is open in ${holders.join(', ')}`,
            },
            ...{ meaning: 'a group can be opened once', fix: null },
          },
        ];
  if (accessible(path)) return [...held, ok('permission', path, 'this user may open it')];
  return [
    ...held,
    {
      ...{
        id: 'permission',
        level: 'blocked',
        evidence: `${path} is not readable and writable for uid ${process.getuid?.()}`,
      },
      meaning: 'this user may not open the group',
      fix: {
        text: hints.groupPermission(path, iommuGroup),
        commands: [`chown "\${SUDO_USER:-root}" ${path}`],
        ...{
          risk: 'that user has the device, with its DMA in what the IOMMU lets it',
          reboot: false,
        },
      },
    },
  ];
}

export function checkReset({ bdf, path }: PciDevice): Finding {
  const methods = resetMethods(bdf);
  const evidence = `${path}/reset_method: ${methods.join(' ') || 'none'}`;
  if (methods.length > 0) return ok('reset', evidence, 'the kernel can reset it alone');
  const meaning =
    'nothing resets it between users but a reset of its whole bus: it may keep its state';
  return { ...{ id: 'no-reset', level: 'warning', evidence, meaning, fix: null } };
}

export function checkSriov({ bdf, driver, physfn }: PciDevice): Finding[] {
  if (physfn !== undefined) {
    return [
      ok(
        'vf',
        `physfn: ${physfn}`,
        'a VF; if its PF is bound to vfio-pci, it opens with the VF token of that only',
      ),
    ];
  }
  const { numVfs, totalVfs } = new Sriov(bdf);
  if (totalVfs === 0) return [];
  const meaning = driver?.includes('vfio') ? 'a PF; its VFs open with its VF token only' : 'a PF';
  return [ok('pf', `${numVfs} of ${totalVfs} VFs`, meaning)];
}
