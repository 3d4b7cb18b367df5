/** Whether devices are kept apart by an IOMMU, and if not, why. */
import { join } from 'node:path';
import { hints } from '../hints';
import { allowsUnprotected, GROUPS, isUnprotected } from '../pci/iommu-group';
import { acsOverride, fileText } from '../pci/kernel-files';
import { PROC, SYS } from '../pci/paths';
import { listDirectory } from '../pci/sysfs';
import { type Finding, type Fix, ok } from './finding';
import { shell } from './shell';

/** ACPI tables that describe an IOMMU: Intel, AMD, Arm. */
const tables = { DMAR: 'Intel VT-d', IVRS: 'AMD-Vi', IORT: 'Arm SMMU' } as const;

function bootParameter(parameter: string): Fix {
  const file = '/etc/default/grub.d/vfio.cfg';
  return {
    text: `boot with ${parameter} (GRUB; elsewhere put it on the kernel command line)`,
    commands: [
      'mkdir -p /etc/default/grub.d',
      `echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX ${parameter}"' > ${file}`,
      'update-grub',
    ],
    risk: 'DMA of broken devices and firmware is refused from then on, and may be slower',
    reboot: true,
  };
}

export function checkIommu(): Finding {
  const units = listDirectory(join(SYS, 'class/iommu'));
  const groups = listDirectory(GROUPS).filter((name) => !isUnprotected(Number(name)));
  if (groups.length > 0) {
    const evidence = `${GROUPS}: ${groups.length} groups; ${SYS}/class/iommu: ${units.join(' ') || 'none'}`;
    return ok('iommu-on', evidence, 'the IOMMU is on');
  }
  const found = listDirectory(join(SYS, 'firmware/acpi/tables'));
  const table = Object.keys(tables).find((name) => found.includes(name));
  const cmdline = fileText(join(PROC, 'cmdline')) ?? '';
  const off = /(?:^|\s)(?:intel_iommu|amd_iommu|iommu)=off(?:\s|$)/.exec(cmdline)?.[0].trim();
  const blocked = (id: string, evidence: string, meaning: string, fix: Fix): Finding => ({
    ...{ id, level: 'blocked', evidence, meaning, fix },
  });
  if (off !== undefined) {
    return blocked(
      'iommu-off-cmdline',
      `${PROC}/cmdline: ${off}`,
      'the command line turns the IOMMU off',
      {
        ...{ text: `remove ${off} from the kernel command line`, commands: [] },
        ...{ risk: 'as before it was put there; somebody had a reason', reboot: true },
      },
    );
  }
  if (table === undefined) {
    const evidence = `${SYS}/firmware/acpi/tables: neither ${Object.keys(tables).join(', nor ')}`;
    return blocked(
      'iommu-off-firmware',
      evidence,
      'the firmware tells of no IOMMU: it is off there, or there is none',
      {
        ...{ text: 'enable VT-d, AMD-Vi (IOMMU) or the SMMU in the firmware set-up', commands: [] },
        ...{ risk: 'none that lasts: it can be turned off again', reboot: true },
      },
    );
  }
  const evidence = `${SYS}/firmware/acpi/tables/${table} is there; ${PROC}/cmdline: ${cmdline}`;
  const meaning = `the firmware has ${tables[table as keyof typeof tables]}, but the kernel does not use it`;
  const parameter = table === 'DMAR' ? 'intel_iommu=on' : 'iommu.passthrough=0';
  return blocked('iommu-off-kernel', evidence, meaning, bootParameter(parameter));
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
      fix: {
        text: `remove ${parameter} from the kernel command line, and see which groups are left`,
        commands: [],
        risk: 'groups grow: what was given away alone takes its neighbours along',
        reboot: true,
      },
    },
  ];
}
