/** Checks of what guards the kernel from root. */
import { join } from 'node:path';
import { hints } from '../hints';
import { fileText } from '../pci/kernel-files';
import { SYS } from '../pci/paths';
import { readAttribute } from '../pci/sysfs';
import { type Finding, ok } from './finding';

export function checkLockdown(): Finding {
  const file = join(SYS, 'kernel/security/lockdown');
  const mode = /\[(\w+)\]/.exec(readAttribute(file) ?? '')?.[1] ?? 'none';
  if (mode === 'none') return ok('lockdown', `${file}: none`, 'the kernel is not locked down');
  return {
    id: 'lockdown',
    level: 'warning',
    evidence: `${file}: ${mode}`,
    meaning: 'writing to PCI config space, raw BARs and MSRs is refused, even to root; VFIO works',
    fix: {
      text: hints.rawAccess(),
      commands: [],
      risk: 'root, and who becomes root, can change the running kernel then',
      reboot: true,
    },
  };
}

/** EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3). */
const secureBoot = 'firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c';

/** efivarfs has four bytes of attributes before the value. */
const VALUE = 4;

export function checkSecureBoot(): Finding[] {
  const file = join(SYS, secureBoot);
  const value = fileText(file)?.charCodeAt(VALUE);
  if (value === undefined || Number.isNaN(value)) return [];
  const meaning =
    value === 1
      ? 'secure boot is on: the kernel loads signed modules only, as those of distributions are'
      : 'secure boot is off';
  return [ok('secure-boot', `${file}: ${value}`, meaning)];
}
