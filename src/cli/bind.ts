import { Command } from 'commander';
import {
  type BindOptions,
  bindDevices,
  type Change,
  planBind,
  planRestore,
  restoreDevices,
} from '../pci/bind-transaction';
import { readinessOf } from '../pci/readiness';
import { readPciDevice } from '../pci/sysfs';
import { installRule, removeRule, ruleFor, type UdevRule } from '../pci/udev-rule';
import { printable, printableLines } from '../printable';
import { jsonText, type Output } from './output';
import { run, status } from './run';

interface BindFlags extends BindOptions {
  readonly driver: string;
  readonly dryRun?: true;
  readonly persist?: true;
  readonly json?: true;
}

/** `vfio bind BDF...`: a transaction; all devices or none. */
export function bindCommand(output: Output = process.stdout): Command {
  return new Command('bind')
    .description('bind devices to vfio-pci; if one fails, or this is killed, all go back')
    .argument('<BDF...>', 'PCI addresses, 0000:01:00.0')
    .option('--driver <NAME>', 'to another driver', 'vfio-pci')
    .option('--group', 'with all devices of their IOMMU groups, bridges left out')
    .option('--persist', 'install a udev rule that binds them at each boot; restore removes it')
    .option(
      '--force',
      'also devices with mounted disks, the default route, this session, a display',
    )
    .option('--dry-run', 'print what would be written, and write nothing')
    .option('--json', 'as a JSON array')
    .action((bdfs: string[], flags: BindFlags) =>
      run(async () => {
        const { dryRun, persist, json, driver } = flags;
        const changes = await (dryRun ? planBind : bindDevices)(bdfs, flags);
        if (persist && !dryRun) for (const { bdf } of changes) installRule(bdf, driver);
        const rules = persist ? changes.map(({ bdf }) => ruleFor(bdf, driver)) : [];
        if (json) {
          const results = changes.map((change, i) => ({ ...change, rule: rules[i] ?? null }));
          output.write(jsonText(results));
        } else {
          const after = dryRun ? rulesText(rules) : installedText(rules) + blockersText(changes);
          output.write(changesText(changes, dryRun) + after);
        }
        return status.ok;
      }),
    );
}

/** `vfio restore [BDF...]`: devices back to what they had. */
export function restoreCommand(output: Output = process.stdout): Command {
  return new Command('restore')
    .description('give devices back to the drivers they had, and remove their udev rules')
    .argument('[BDF...]', 'PCI addresses; without one, all that vfio bind has bound')
    .option('--force', 'also while a process has one open: it is asked to let go')
    .option('--dry-run', 'print what would be written, and write nothing')
    .option('--json', 'as a JSON array')
    .action((bdfs: string[], flags: { force?: true; dryRun?: true; json?: true }) =>
      run(async () => {
        const changes = flags.dryRun
          ? planRestore(bdfs, flags.force)
          : await restoreDevices(bdfs, flags.force);
        if (!flags.dryRun) for (const { bdf } of changes) removeRule(bdf);
        output.write(flags.json ? jsonText(changes) : changesText(changes, flags.dryRun));
        return status.ok;
      }),
    );
}

function changesText(changes: readonly Change[], dryRun: true | undefined): string {
  if (changes.length === 0) return 'nothing to do\n';
  const lines = changes.flatMap(({ bdf, from, to, writes }) =>
    dryRun
      ? writes.map(({ path, text }) => `echo ${text.trim() || "''"} > ${path}`)
      : [`${bdf}: ${from ?? 'no driver'} -> ${to ?? "the kernel's choice"}`],
  );
  return printableLines(`${lines.join('\n')}\n`);
}

function rulesText(rules: readonly UdevRule[]): string {
  return rules.map(({ path, text }) => `# ${path}\n${text}`).join('');
}

function installedText(rules: readonly UdevRule[]): string {
  return rules.map(({ path }) => `installed ${path}\n`).join('');
}

/** What is bound, and cannot be opened yet. */
function blockersText(changes: readonly Change[]): string {
  return changes
    .map(({ bdf }) => ({ bdf, blockers: readinessOf(readPciDevice(bdf)).blockers }))
    .filter(({ blockers }) => blockers.length > 0)
    .map(({ bdf, blockers }) => {
      const names = printable(blockers.join(', '));
      return `${bdf} cannot be opened yet: ${names} blocks its group; --group binds all of it\n`;
    })
    .join('');
}
