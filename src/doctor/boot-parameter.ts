/** Fixes that change the kernel command line. */
import type { Fix } from './finding';
import { shell } from './shell';

/**
 * By the boot loader's own tool. What is appended to /etc/default/grub, a shell script that grub-mkconfig
 * reads, leaves what is there as it is.
 */
export function addBootParameter(parameter: string): Fix {
  const line = `GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX ${parameter}"`;
  return {
    text: `put ${parameter} on the kernel command line`,
    commands: [
      'if command -v grubby > /dev/null; then',
      shell`  grubby --update-kernel=ALL ${`--args=${parameter}`}`,
      'elif command -v update-grub > /dev/null; then',
      shell`  echo ${line} >> /etc/default/grub`,
      '  update-grub',
      'elif command -v grub2-mkconfig > /dev/null; then',
      shell`  echo ${line} >> /etc/default/grub`,
      '  grub2-mkconfig -o /boot/grub2/grub.cfg',
      'elif command -v grub-mkconfig > /dev/null; then',
      shell`  echo ${line} >> /etc/default/grub`,
      '  grub-mkconfig -o /boot/grub/grub.cfg',
      'else',
      shell`  echo ${`put ${parameter} on the kernel command line`} >&2`,
      'fi',
    ],
    risk: 'DMA of broken devices and firmware is refused from then on, and may be slower',
    reboot: true,
  };
}

/** By hand: somebody put it there. */
export function removeBootParameter(parameter: string, risk: string): Fix {
  const text =
    `remove ${parameter} from the kernel command line: from /etc/default/grub, then update-grub ` +
    'or grub2-mkconfig; or by grubby --remove-args';
  return { text, commands: [], risk, reboot: true };
}
