/** Whether devices are kept apart by an IOMMU, and if not, why. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { hints } from '../hints';
import { allowsUnprotected, GROUPS, isUnprotected } from '../pci/iommu-group';
import { acsOverride, bootParameter, fileText } from '../pci/kernel-files';
import { PROC, SYS } from '../pci/paths';
import { listDirectory } from '../pci/sysfs';
import { addBootParameter, removeBootParameter } from './boot-parameter';
import { type Finding, type Fix, ok } from './finding';
import { anotherKernel, missingOptions } from './kernel-options';
import { shell } from './shell';

/** By the ACPI table that describes it. */
const kinds = {
  DMAR: { name: 'Intel VT-d', options: ['CONFIG_INTEL_IOMMU'] },
  IVRS: { name: 'AMD-Vi', options: ['CONFIG_AMD_IOMMU'] },
  // Also on machines of Arm that have no SMMU.
  IORT: { name: 'IORT (Arm SMMU)', options: ['CONFIG_ARM_SMMU_V3', 'CONFIG_ARM_SMMU'] },
  VIOT: { name: 'VIOT (virtio-iommu)', options: ['CONFIG_VIRTIO_IOMMU'] },
} as const;

type Table = keyof typeof kinds;

const TABLES = join(SYS, 'firmware/acpi/tables');
const DEVICE_TREE = join(SYS, 'firmware/devicetree/base');

const askedReason = 'as before it was put there; somebody had a reason';

function blocked(id: string, evidence: string, meaning: string, fix: Fix): Finding {
  return { id, level: 'blocked', evidence, meaning, fix };
}

export function checkIommu(): Finding {
  const units = listDirectory(join(SYS, 'class/iommu'));
  const groups = listDirectory(GROUPS).filter((name) => !isUnprotected(Number(name)));
  if (groups.length > 0) {
    const evidence = `${GROUPS}: ${groups.length} groups; ${SYS}/class/iommu: ${units.join(' ') || 'none'}`;
    return ok('iommu-on', evidence, 'the IOMMU is on');
  }
  const off = bootParameter(/^(?:intel_iommu|amd_iommu|iommu)=off$/);
  if (off !== undefined) {
    const meaning = 'the command line turns the IOMMU off';
    const fix = removeBootParameter(off, askedReason);
    return blocked('iommu-off-cmdline', `${PROC}/cmdline: ${off}`, meaning, fix);
  }
  const found = listDirectory(TABLES);
  const table = (Object.keys(kinds) as Table[]).find((name) => found.includes(name));
  if (table !== undefined) return unusedIommu(table);
  return existsSync(DEVICE_TREE) && found.length === 0 ? unusedDeviceTree() : withoutTable();
}

/** Described by the firmware, and not used. */
function unusedIommu(table: Table): Finding {
  const { name, options } = kinds[table];
  const seen = `${TABLES}/${table} is there`;
  const missing = missingOptions(options);
  if (missing) {
    const meaning = `the firmware has ${name}, but this kernel was built without its driver`;
    const evidence = `${seen}; ${missing}`;
    return blocked('iommu-not-built', evidence, meaning, anotherKernel(options.join(' or ')));
  }
  const cmdline = fileText(join(PROC, 'cmdline')) ?? '';
  const evidence = `${seen}; ${PROC}/cmdline: ${cmdline}`;
  const meaning = `the firmware has ${name}, but the kernel does not use it`;
  if (table === 'DMAR' && bootParameter(/^intel_iommu=on\b/) === undefined) {
    return blocked('iommu-off-kernel', evidence, meaning, addBootParameter('intel_iommu=on'));
  }
  return blocked('iommu-failed', evidence, meaning, {
    text: hints.iommuFaulty(),
    commands: [],
    risk: 'that of new firmware',
    reboot: true,
  });
}

function unusedDeviceTree(): Finding {
  const options = kinds.IORT.options;
  const missing = missingOptions(options);
  const evidence = `${DEVICE_TREE} is there, ${TABLES} is not${missing ? `; ${missing}` : ''}`;
  const meaning = 'the kernel uses no IOMMU of those that the device tree may have';
  if (missing) {
    return blocked('iommu-not-built', evidence, meaning, anotherKernel(options.join(' or ')));
  }
  return blocked('iommu-off-devicetree', evidence, meaning, {
    text: hints.iommuInDeviceTree(),
    commands: [],
    risk: 'a machine whose device tree is wrong may not boot',
    reboot: true,
  });
}

function withoutTable(): Finding {
  const evidence = `${TABLES}: neither ${Object.keys(kinds).join(', nor ')}`;
  const meaning = 'the firmware tells of no IOMMU: it is off there, or there is none';
  return blocked('iommu-off-firmware', evidence, meaning, {
    text: hints.iommuInFirmware(),
    commands: [],
    risk: 'none that lasts: it can be turned off again',
    reboot: true,
  });
}

/** VFIO opens devices without an IOMMU, too: for those who trust the driver as they do the kernel. */
export function checkUnprotected(): Finding[] {
  const parameter = join(SYS, 'module/vfio/parameters/enable_unsafe_noiommu_mode');
  const groups = listDirectory(GROUPS).filter((name) => isUnprotected(Number(name)));
  if (groups.length === 0 && !allowsUnprotected()) return [];
  const seen = groups.map((name) => `${GROUPS}/${name}/name: vfio-noiommu`);
  return [
    {
      id: 'noiommu',
      level: 'warning',
      evidence: [...(allowsUnprotected() ? [`${parameter}: Y`] : []), ...seen].join('; '),
      meaning: 'VFIO gives devices away without an IOMMU: they reach all memory',
      fix: {
        text: 'turn it off, if an IOMMU is there; devices that are bound keep their groups until they are unbound',
        commands: [shell`echo N > ${parameter}`],
        risk: 'devices without an IOMMU cannot be opened then',
        reboot: false,
      },
    },
  ];
}

/** A patch that some distributions have: groups are then what the command line says. */
export function checkAcsOverride(): Finding[] {
  const parameter = acsOverride();
  if (parameter === undefined) return [];
  return [
    {
      id: 'acs-override',
      level: 'warning',
      evidence: `${PROC}/cmdline: ${parameter}`,
      meaning: hints.acsOverride(),
      fix: removeBootParameter(
        parameter,
        'groups grow: what was given away alone takes its neighbours along',
      ),
    },
  ];
}
