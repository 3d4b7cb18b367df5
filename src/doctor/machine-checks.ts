/** Checks of the machine as a whole: driver, limits. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { hints } from '../hints';
import { fileText } from '../pci/kernel-files';
import { PROC, SYS } from '../pci/paths';
import { listDirectory, readAttribute, readLinkName } from '../pci/sysfs';
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

/** include/linux/proc_ns.h, PROC_USER_INIT_INO. */
const FIRST_USER_NAMESPACE = 'user:[4026531837]';

/** By its number or, where that is hidden, its map, the identity (user_namespaces(7)); undefined if unknown. */
function inFirstUserNamespace(): boolean | undefined {
  const namespace = readLinkName(join(PROC, 'self/ns/user'));
  if (namespace !== undefined) return namespace === FIRST_USER_NAMESPACE;
  const map = fileText(join(PROC, 'self/uid_map'));
  return map === undefined ? undefined : /^\s*0\s+0\s+4294967295\s*$/.test(map);
}

/** As far as a container shows: by its user namespace, or its root file system. */
export function checkContainer(): Finding[] {
  const roots = (fileText(join(PROC, 'self/mountinfo')) ?? '')
    .split('\n')
    .filter((line) => / \/ \/ .* - overlay /.test(line));
  const seen = [
    ...(inFirstUserNamespace() === false
      ? [`${PROC}/self/uid_map is not that of the machine`]
      : []),
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
  const limits = join(PROC, 'self/limits');
  const limit = /^Max locked memory\s+(\S+)/m.exec(fileText(limits) ?? '')?.[1];
  if (limit === undefined) return memlockUnknown(`${limits} is not readable`);
  const evidence = `${limits}: Max locked memory ${limit}`;
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

function memlockUnknown(evidence: string): Finding {
  return {
    ...{ id: 'memlock-unknown', level: 'warning', evidence },
    meaning: 'how much memory may be pinned for DMA is unknown',
    fix: {
      text: hints.mountProc(),
      commands: [],
      risk: 'none',
      reboot: false,
    },
  };
}

export function checkHugePages(): Finding {
  const directory = join(SYS, 'kernel/mm/hugepages');
  if (!existsSync(directory)) {
    const meaning = 'whether there are huge pages is unknown; they are optional';
    return ok('hugepages', `${directory} does not exist`, meaning);
  }
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
