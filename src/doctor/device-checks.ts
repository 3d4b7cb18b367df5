/** Checks of one device: its group, its driver and its place. */
import { join } from 'node:path';
import { hints } from '../hints';
import { isBdf } from '../pci/address';
import { usesOf } from '../pci/in-use';
import type { Use } from '../pci/in-use/parts';
import {
  allowsUnprotected,
  GROUPS,
  type GroupMember,
  getsGroupWhenProbed,
  iommuGroupMembers,
  isUnprotected,
} from '../pci/iommu-group';
import { SYS } from '../pci/paths';
import { isBridge, readinessOf } from '../pci/readiness';
import { type PciDevice, readAttribute, readPciDevice } from '../pci/sysfs';
import { isVfioDriver } from '../pci/vfio-driver';
import { sharingReasons } from '../topology/sharing';
import { flatten, readTopology } from '../topology/tree';
import { type Finding, ok } from './finding';
import { shell } from './shell';

/** What can never be given away, whatever else is found: a bridge, or a device without an IOMMU. */
export function checkKind(device: PciDevice): Finding | undefined {
  const { path, iommuGroup } = device;
  if (isBridge(device)) {
    return {
      id: 'bridge',
      level: 'blocked',
      evidence: `${path}/class: 0x${device.class.toString(16).padStart(6, '0')}`,
      meaning: 'a bridge, which stays with the kernel',
      fix: { text: hints.bridge(), commands: [], risk: 'none', reboot: false },
    };
  }
  if (iommuGroup !== undefined || allowsUnprotected()) return undefined;
  if (getsGroupWhenProbed(device)) {
    return {
      id: 'no-group-yet',
      level: 'warning',
      evidence: `${path}/iommu_group does not exist; ${SYS}/class/iommu is not empty`,
      meaning: 'the kernel puts it into an IOMMU group when a driver is bound to it',
      fix: {
        text: 'bind it to vfio-pci',
        commands: [`vfio bind ${device.bdf}`],
        ...{ risk: 'none', reboot: false },
      },
    };
  }
  return {
    id: 'no-group',
    level: 'blocked',
    evidence: `${path}/iommu_group does not exist`,
    meaning: 'no IOMMU is in front of it',
    fix: behindIommu,
  };
}

const behindIommu = {
  text: hints.noIommuGroup(),
  commands: [],
  risk: 'DMA of broken devices and firmware is refused from then on, and may be slower',
  reboot: true,
} as const;

export function checkGroup(device: PciDevice): Finding {
  const { path, iommuGroup } = device;
  if (iommuGroup === undefined || isUnprotected(iommuGroup)) {
    const group = iommuGroup === undefined ? '' : `; ${GROUPS}/${iommuGroup}/name: vfio-noiommu`;
    return {
      ...{ id: 'unprotected', level: 'warning', evidence: `enable_unsafe_noiommu_mode${group}` },
      meaning: hints.unprotected(),
      fix: behindIommu,
    };
  }
  const members = iommuGroupMembers(iommuGroup);
  const names = members.map(({ bdf, driver }) => `${bdf} (${driver ?? 'no driver'})`);
  const evidence = `${path}/iommu_group: ${iommuGroup}, with ${names.join(', ')}`;
  const { blockers } = readinessOf(device);
  if (blockers.length === 0)
    return ok('group-viable', evidence, 'nothing in its group is in the way');
  const others = members.filter((member) => member.blocks && member.bdf !== device.bdf);
  return {
    ...{ id: 'group-blocked', level: 'blocked', evidence },
    meaning: `its group cannot be opened: ${blockers.join(', ')} does DMA for the kernel`,
    fix: {
      ...freeing(others),
      text: [hints.groupNotViable(iommuGroup, blockers), ...usesOfAll(others)].join('; '),
      risk: 'the kernel loses those devices, until vfio restore',
      reboot: false,
    },
  };
}

/** Members on other buses (platform, mdev) are named in the text only: `vfio bind` is for PCI. */
const pciMembers = (members: readonly GroupMember[]) =>
  members.flatMap(({ bdf }) => (isBdf(bdf) ? [readPciDevice(bdf)] : []));

const usesOfAll = (members: readonly GroupMember[]) =>
  pciMembers(members).flatMap((member) =>
    usesOf(member).map(({ text }) => `${member.bdf} is in use: ${text}`),
  );

/** A script must not do what takes a --force. */
function freeing(members: readonly GroupMember[]) {
  const devices = pciMembers(members);
  const used = devices.filter((device) => usesOf(device).length > 0);
  const free = devices.filter((device) => !used.includes(device)).map(({ bdf }) => bdf);
  const byHand = used.flatMap((device) => [
    ...usesOf(device).flatMap(endingUse),
    shell`vfio bind ${device.bdf}`,
  ]);
  return { commands: free.length > 0 ? [shell`vfio bind ${free}`] : [], byHand };
}

/** The command that ends it; of routes, sessions and displays, only a person knows how. */
function endingUse({ kind, name }: Use): string[] {
  if (kind === 'mount') return [shell`umount ${`/dev/${name}`}`];
  return kind === 'swap' ? [shell`swapoff ${`/dev/${name}`}`] : [];
}

export function checkDriver(device: PciDevice): Finding {
  const { bdf, path, driver } = device;
  const evidence = `${path}/driver: ${driver ?? 'none'}`;
  if (isVfioDriver(driver)) return ok('bound', evidence, 'it is bound to a vfio driver');
  const uses = usesOf(device);
  if (uses.length > 0) {
    return {
      id: 'in-use',
      level: 'blocked',
      evidence: uses.map(({ text }) => text).join('; '),
      meaning: 'the system needs it',
      fix: {
        text: hints.inUse(),
        commands: [],
        byHand: [...uses.flatMap(endingUse), shell`vfio bind ${bdf}`],
        risk: 'what uses it loses it; a remote session may not come back',
        reboot: false,
      },
    };
  }
  return {
    ...{ id: 'not-bound', level: 'warning', evidence },
    meaning: 'it can be opened once it is bound to vfio-pci',
    fix: {
      text: hints.notBound(bdf, driver),
      commands: [shell`vfio bind ${bdf}`],
      risk:
        driver === undefined ? 'none' : `what ${driver} gives is gone until vfio restore ${bdf}`,
      reboot: false,
    },
  };
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
