/** Checks of one device: its group, its driver and its place. */
import { join } from 'node:path';
import { hints } from '../hints';
import { isBdf } from '../pci/address';
import { DISABLE_DENYLIST, isDenied } from '../pci/denylist';
import { usesOf } from '../pci/in-use';
import { realPath } from '../pci/in-use/parts';
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
import { barResources } from '../pci/resources';
import { type PciDevice, readAttribute, readPciDevice } from '../pci/sysfs';
import { isVfioDriver } from '../pci/vfio-driver';
import { sharingReasons } from '../topology/sharing';
import { flatten, readTopology } from '../topology/tree';
import { type Advice, adviseBind } from './advice';
import { type Finding, ok } from './finding';
import { shell } from './shell';

/** What can never be given away, whatever else is found: a bridge, or a device without an IOMMU. */
export function checkKind(device: PciDevice): Finding | undefined {
  const { path, iommuGroup } = device;
  if (isBridge(device)) {
    return {
      id: 'bridge',
      level: 'blocked',
      evidence: `${path}/config: the header of a bridge; class: 0x${device.class.toString(16).padStart(6, '0')}`,
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
        ...adviseBind([device.bdf]),
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
  members.flatMap(({ bdf, bus }) => (bus === 'pci' ? [readPciDevice(bdf)] : []));

const usesOfAll = (members: readonly GroupMember[]) =>
  pciMembers(members).flatMap((member) =>
    usesOf(member).map(({ text }) => `${member.bdf} is in use: ${text}`),
  );

/** A bridge that has another driver than the kernel's own for bridges can only be unbound. */
function freeing(members: readonly GroupMember[]): Advice {
  const devices = pciMembers(members);
  const bridges = devices.filter(isBridge);
  const { commands, byHand } = adviseBind(
    devices.filter((device) => !bridges.includes(device)).map(({ bdf }) => bdf),
  );
  const unbinding = bridges.map(({ bdf, path }) => shell`echo ${bdf} > ${`${path}/driver/unbind`}`);
  return { commands, byHand: [...byHand, ...unbinding] };
}

/** The endpoint whose driver shows the device on a bus of its own, such as Intel's VMD. */
function controllerOf({ path, bdf }: PciDevice): PciDevice | undefined {
  const above = (realPath(path) ?? '').split('/').filter((name) => isBdf(name) && name !== bdf);
  const devices = above.flatMap((name) => {
    const device = presentDevice(name);
    return device === undefined || isBridge(device) ? [] : [device];
  });
  return devices.at(-1);
}

function presentDevice(bdf: string): PciDevice | undefined {
  try {
    return readPciDevice(bdf);
  } catch {
    return undefined;
  }
}

/** A device behind a controller (VMD) is the controller's: to unbind that removes the device. */
export function checkController(device: PciDevice): Finding | undefined {
  const controller = controllerOf(device);
  if (controller === undefined) return undefined;
  return {
    id: 'behind-controller',
    level: 'blocked',
    evidence: `${device.path} is below ${controller.path}, bound to ${controller.driver ?? 'no driver'}`,
    meaning: `it is on a bus of ${controller.bdf}, which can only be given away as a whole`,
    fix: {
      text: hints.behindController(controller.bdf),
      commands: [],
      risk: `all devices behind ${controller.bdf} go with it`,
      reboot: false,
    },
  };
}

/** vfio-pci has a list of devices that it does not take. */
export function checkDenylist(device: PciDevice): Finding[] {
  if (!isDenied(device)) return [];
  return [
    {
      id: 'denylisted',
      level: 'blocked',
      evidence: `${DISABLE_DENYLIST}: N; ${device.path}/device: 0x${device.device.toString(16)}`,
      meaning: 'vfio-pci refuses this device: its errata let its user reach others',
      fix: {
        text: hints.denylist(),
        commands: [],
        byHand: ['echo "options vfio-pci disable_denylist=1" > /etc/modprobe.d/vfio-denylist.conf'],
        risk: 'its user may hang the machine or reach past the IOMMU',
        reboot: false,
      },
    },
  ];
}

/** What the kernel could not place cannot be read, nor mapped. */
export function checkBars(device: PciDevice): Finding[] {
  const file = join(device.path, 'resource');
  const unplaced = (barResources(device) ?? []).filter(
    ({ name, address }) => address === null && name !== 'rom',
  );
  if (unplaced.length === 0) return [];
  const names = unplaced.map(({ name, size }) => `${name} (${size} bytes)`).join(', ');
  return [
    {
      id: 'bar-unplaced',
      level: 'warning',
      evidence: `${file}: ${names} without an address`,
      meaning:
        'the kernel found no addresses for it: these registers or this memory cannot be used',
      fix: {
        text: hints.unplacedBar(),
        commands: [],
        risk: 'other devices may be moved, or lose their place',
        reboot: true,
      },
    },
  ];
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
        ...adviseBind([bdf]),
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
      ...adviseBind([bdf]),
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
