import { Command } from 'commander';
import type { Change } from '../pci/binding/bind';
import { type BindOptions, bindDevices, planBind } from '../pci/binding/bind-transaction';
import {
  planRestore,
  type Restoration,
  restoreDevices,
  undoAbandoned,
} from '../pci/binding/restore';
import { type BroughtBack, undoAbandonedVfs } from '../pci/binding/saved-vfs';
import { ruleFor, type UdevRule } from '../pci/binding/udev-rule';
import { readinessOf } from '../pci/readiness';
import { readPciDevice } from '../pci/sysfs';
import { printable } from '../printable';
import { errorDocument, printError } from './errors';
import { interruptible } from './interrupt';
import { jsonText, type Output } from './output';
import { run, status } from './run';

interface BindFlags extends BindOptions {
  readonly driver: string;
  readonly dryRun?: true;
  readonly json?: true;
}

/** `vfio bind BDF...`: a transaction; all devices or none. */
export function bindCommand(output: Output = process.stdout): Command {
  return new Command('bind')
    .description('bind devices to vfio-pci; if one fails, or a signal ends this, all go back')
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
      run({ output, json: flags.json }, async () => {
        const { dryRun, persist, json, driver } = flags;
        if (!dryRun) for (const { error } of await undoAbandoned()) printError(error);
        const changes = dryRun
          ? planBind(bdfs, flags)
          : await interruptible((signal) => bindDevices(bdfs, { ...flags, signal }));
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
      run({ output, json: flags.json }, async () => {
        const vfs = flags.dryRun || bdfs.length > 0 ? [] : await undoAbandonedVfs();
        const done = flags.dryRun
          ? planRestore(bdfs, flags.force)
          : await restoreDevices(bdfs, flags.force);
        const failures = [...vfs, ...done].filter(({ error }) => error !== null);
        const text = restoredText(done, flags.dryRun) + vfsText(vfs);
        const idle = failures.length === 0 ? 'nothing to do\n' : '';
        output.write(flags.json ? restoredJson(done) : text || idle);
        for (const { error } of flags.json ? vfs : failures) if (error) printError(error);
        return failures.length === 0 ? status.ok : status.failed;
      }),
    );
}

function restoredJson(done: readonly Restoration[]): string {
  const document = ({ error, ...change }: Restoration) => ({
    ...change,
    error: error && errorDocument(error),
  });
  return jsonText(done.map(document));
}

function restoredText(done: readonly Restoration[], dryRun: true | undefined): string {
  const changed = done.filter(({ error, writes }) => error === null && writes.length > 0);
  const removed = done.flatMap(({ removes }) => removes);
  const told = removed.map((path) => `${dryRun ? 'rm' : 'removed'} ${printable(path)}\n`);
  return changesText(changed, dryRun) + told.join('');
}

function vfsText(vfs: readonly BroughtBack[]): string {
  const back = vfs.filter(({ error }) => error === null);
  return back.map(({ pf, count }) => `${pf}: ${count} VFs are back\n`).join('');
}

function changesText(changes: readonly Change[], dryRun: true | undefined): string {
  const lines = changes.flatMap((change) => {
    const { bdf, from, to, writes } = change;
    return dryRun
      ? [
          ...writes.map(({ path, text }) => `echo ${text.trim() || "''"} > ${path}`),
          ...vfsTexts(change).map((text) => `# ${text}`),
        ]
      : [`${bdf}: ${from ?? 'no driver'} -> ${to ?? "the kernel's choice"}`, ...vfsTexts(change)];
  });
  return lines.map((line) => `${printable(line)}\n`).join('');
}

/** VFs go with the driver of their PF. */
function vfsTexts({ bdf, vfs, ...change }: Change | Restoration): string[] {
  const back = 'vfsBack' in change ? change.vfsBack : undefined;
  const gone = `${bdf}: its ${vfs.length} VFs go with its driver`;
  if (back) return [`${bdf}: its ${back} VFs come back`];
  if (vfs.length === 0) return [];
  return [back === undefined ? `${gone}; vfio restore ${bdf} brings them back` : gone];
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
