/** Checks of the machine as a whole: driver, limits. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { hints } from '../hints';
import { fileText } from '../pci/kernel-files';
import { PROC, SYS } from '../pci/paths';
import { listDirectory, readAttribute } from '../pci/sysfs';
import { type Finding, ok } from './finding';
import { anotherKernel, missingOptions } from './kernel-options';
import { shell } from './shell';

export function checkVfioPci(): Finding {
  const driver = join(SYS, 'bus/pci/drivers/vfio-pci');
  if (existsSync(driver)) return ok('vfio-pci', `${driver} exists`, 'vfio-pci is loaded');
  const missing = missingOptions(['CONFIG_VFIO']) ?? missingOptions(['CONFIG_VFIO_PCI']);
  if (missing) {
    return {
      ...{ id: 'vfio-pci-not-built', level: 'blocked', evidence: missing },
      meaning: 'this kernel was built without VFIO for PCI',
      fix: anotherKernel('CONFIG_VFIO and CONFIG_VFIO_PCI'),
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

/** Bit of a capability set (capabilities(7)). */
const CAP_IPC_LOCK = 1n << 14n;

/** Its map is the identity (user_namespaces(7)). */
function inFirstUserNamespace(): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(fileText(join(PROC, 'self/uid_map')) ?? '');
}

/** As far as a container shows: by its user namespace, or its root file system. */
export function checkContainer(): Finding[] {
  const roots = (fileText(join(PROC, 'self/mountinfo')) ?? '')
    .split('\n')
    .filter((line) => / \/ \/ .* - overlay /.test(line));
  const seen = [
    ...(inFirstUserNamespace() ? [] : [`${PROC}/self/uid_map is not that of the machine`]),
    ...(roots.length > 0 ? [`${PROC}/self/mountinfo: / is an overlay`] : []),
  ];
  if (seen.length === 0) return [];
  return [ok('container', seen.join('; '), hints.container())];
}

/** VFIO asks for the capability in the first user namespace: root of a container does not have it. */
function mayLock(): string | undefined {
  const set = /^CapEff:\s+([0-9a-f]+)$/m.exec(fileText(join(PROC, 'self/status')) ?? '')?.[1];
  if (set === undefined || !inFirstUserNamespace() || (BigInt(`0x${set}`) & CAP_IPC_LOCK) === 0n)
    return undefined;
  return `${PROC}/self/status: CapEff ${set} has CAP_IPC_LOCK`;
}

export function checkMemlock(): Finding {
  const line = /^Max locked memory\s+(\S+)/m.exec(fileText(join(PROC, 'self/limits')) ?? '');
  const limit = line?.[1] ?? 'unknown';
  const evidence = `${PROC}/self/limits: Max locked memory ${limit}`;
  if (limit === 'unlimited' || Number(limit) >= SMALL_MEMLOCK) {
    return ok('memlock', evidence, 'memory can be pinned for DMA');
  }
  const exempt = mayLock();
  if (exempt !== undefined) {
    return ok('memlock', `${evidence}; ${exempt}`, 'this process is not bound by the limit');
  }
  return {
    ...{ id: 'memlock-low', level: 'warning', evidence },
    meaning: 'mapping more memory than that for DMA fails with ENOMEM',
    fix: {
      text: hints.memlockLimit(Number(limit)),
      commands: [
        shell`echo "\${SUDO_USER:-root} - memlock unlimited" > /etc/security/limits.d/vfio.conf`,
      ],
      ...{
        risk: 'that user can pin all memory. It counts from the next login on',
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
