/**
 * Interrupts of a device that the IOMMU does not remap can be those of any other: by writing to the address
 * of MSIs, a device raises what it wants. VFIO refuses such machines unless it is told otherwise.
 */
import { join } from 'node:path';
import { hints } from '../hints';
import { bootParameter, fileText } from '../pci/kernel-files';
import { PROC, SYS } from '../pci/paths';
import { listDirectory, readAttribute } from '../pci/sysfs';
import { removeBootParameter } from './boot-parameter';
import { type Finding, type Fix, ok } from './finding';
import { shell } from './shell';

/** VT-d specification, 11.4.3: Interrupt Remapping support. */
const ECAP_IR = 1n << 3n;

const allowUnsafe = join(SYS, 'module/vfio_iommu_type1/parameters/allow_unsafe_interrupts');

interface Unit {
  readonly evidence: string;
  readonly remaps: boolean;
}

/** Units of VT-d say whether they remap; those of AMD-Vi all do; others are not told of in sysfs. */
function units(): Unit[] {
  const directory = join(SYS, 'class/iommu');
  return listDirectory(directory).flatMap((name): Unit[] => {
    const ecap = join(directory, name, 'intel-iommu/ecap');
    const text = readAttribute(ecap);
    if (text !== undefined && /^[0-9a-f]{1,16}$/i.test(text)) {
      return [{ evidence: `${ecap}: ${text}`, remaps: (BigInt(`0x${text}`) & ECAP_IR) !== 0n }];
    }
    const amd = join(directory, name, 'amd-iommu');
    return listDirectory(amd).length > 0 ? [{ evidence: amd, remaps: true }] : [];
  });
}

/** Linux calls the controllers of remapped interrupts IR-PCI-MSI, IR-IO-APIC. */
function controllers(): 'remapped' | 'plain' | 'unknown' {
  const table = fileText(join(PROC, 'interrupts')) ?? '';
  if (/\sIR-/.test(table)) return 'remapped';
  return /\s(PCI-MSI|IO-APIC)/.test(table) ? 'plain' : 'unknown';
}

function blocked(evidence: string, meaning: string, fix: Fix): Finding {
  return { id: 'no-interrupt-remapping', level: 'blocked', evidence, meaning, fix };
}

const unsafely: Fix = {
  text: hints.interruptRemapping(),
  commands: [],
  byHand: [shell`echo Y > ${allowUnsafe}`],
  risk: 'a device that is given away can raise any interrupt of the machine, and so crash it',
  reboot: false,
};

export function checkInterruptRemapping(): Finding[] {
  const interrupts = join(PROC, 'interrupts');
  const kind = controllers();
  const found = units();
  if (readAttribute(allowUnsafe) === 'Y') {
    return [
      {
        id: 'unsafe-interrupts',
        level: 'warning',
        evidence: `${allowUnsafe}: Y`,
        meaning: 'devices may raise any interrupt of the machine: they are not isolated from it',
        fix: {
          text: 'turn it off, if the IOMMU remaps interrupts',
          commands: [shell`echo N > ${allowUnsafe}`],
          risk: 'where it does not, no device can be opened then',
          reboot: false,
        },
      },
    ];
  }
  if (kind === 'remapped') {
    return [ok('interrupt-remapping', `${interrupts}: IR-`, 'the IOMMU remaps interrupts')];
  }
  if (found.length === 0) return [];
  const off = bootParameter(/^(nointremap|intremap=off)$/);
  if (off !== undefined) {
    const fix = removeBootParameter(off, 'as before it was put there; somebody had a reason');
    const meaning = 'the command line turns interrupt remapping off: VFIO refuses to open devices';
    return [blocked(`${PROC}/cmdline: ${off}`, meaning, fix)];
  }
  const lacking = found.filter(({ remaps }) => !remaps).map(({ evidence }) => evidence);
  if (lacking.length > 0) {
    const meaning = 'an IOMMU cannot remap interrupts (ECAP.IR): VFIO refuses devices behind it';
    return [blocked(lacking.join('; '), meaning, unsafely)];
  }
  if (kind === 'plain') {
    const meaning = 'the IOMMU could remap interrupts, and does not: VFIO refuses to open devices';
    return [blocked(`${interrupts}: no IR-`, meaning, unsafely)];
  }
  const evidence = found.map((unit) => unit.evidence).join('; ');
  return [ok('interrupt-remapping', evidence, 'the IOMMU can remap interrupts')];
}
