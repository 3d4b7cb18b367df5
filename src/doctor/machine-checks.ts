/** Checks of the machine as a whole: IOMMU, kernel, limits. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { hints } from '../hints';
import { PROC, SYS } from '../pci/paths';
import { listDirectory, readAttribute } from '../pci/sysfs';
import { type Finding, type Fix, ok } from './finding';
import { fileText, kernelOption } from './kernel-files';

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
  const groups = listDirectory(join(SYS, 'kernel/iommu_groups'));
  if (groups.length > 0) {
    const evidence = `${SYS}/kernel/iommu_groups: ${groups.length} groups; ${SYS}/class/iommu: ${units.join(' ') || 'none'}`;
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

export function checkVfioPci(): Finding {
  const driver = join(SYS, 'bus/pci/drivers/vfio-pci');
  if (existsSync(driver)) return ok('vfio-pci', `${driver} exists`, 'vfio-pci is loaded');
  const option = kernelOption('CONFIG_VFIO_PCI');
  if (option && option.value === undefined) {
    return {
      ...{
        id: 'vfio-pci-not-built',
        level: 'blocked',
        evidence: `${option.file}: no CONFIG_VFIO_PCI`,
      },
      meaning: 'this kernel was built without VFIO for PCI',
      fix: {
        ...{
          text: 'install a kernel with CONFIG_VFIO_PCI, as all distributions have',
          commands: [],
        },
        ...{ risk: 'that of another kernel', reboot: true },
      },
    };
  }
  return {
    ...{ id: 'vfio-pci-not-loaded', level: 'blocked', evidence: `${driver} does not exist` },
    meaning: 'the driver that gives devices to user space is not loaded',
    fix: {
      text: hints.modulesMissing(),
      commands: ['modprobe vfio-pci', 'echo vfio-pci > /etc/modules-load.d/vfio-pci.conf'],
      ...{ risk: 'none: it takes no device by itself', reboot: false },
    },
  };
}

/** Enough for what drivers usually pin: rings and a few thousand packets. */
const SMALL_MEMLOCK = 64 << 20;

export function checkMemlock(uid = process.getuid?.()): Finding {
  const line = /^Max locked memory\s+(\S+)/m.exec(fileText(join(PROC, 'self/limits')) ?? '');
  const limit = line?.[1] ?? 'unknown';
  const evidence = `${PROC}/self/limits: Max locked memory ${limit}`;
  if (limit === 'unlimited' || Number(limit) >= SMALL_MEMLOCK) {
    return ok('memlock', evidence, 'memory can be pinned for DMA');
  }
  if (uid === 0)
    return ok('memlock', `${evidence}, uid 0`, 'root (CAP_IPC_LOCK) is not bound by the limit');
  return {
    ...{ id: 'memlock-low', level: 'warning', evidence },
    meaning: 'mapping more memory than that for DMA fails with ENOMEM',
    fix: {
      text: hints.memlock(SMALL_MEMLOCK, 0, Number(limit)),
      commands: ["echo '* - memlock unlimited' > /etc/security/limits.d/vfio.conf"],
      ...{
        risk: 'users can pin all memory; name one instead of *. Counts from the next login on',
        reboot: false,
      },
    },
  };
}

export function checkHugePages(): Finding {
  const directory = join(SYS, 'kernel/mm/hugepages');
  const counts = listDirectory(directory).map((size) => {
    const free = readAttribute(join(directory, size, 'free_hugepages')) ?? '0';
    return `${size} ${free} free`;
  });
  const evidence = `${directory}: ${counts.join(', ') || 'none'}`;
  return ok(
    'hugepages',
    evidence,
    'optional: each takes one mapping and one IOTLB entry in place of 512',
  );
}
