import { Command } from 'commander';
import { changeVfs, planVfs, type SriovOptions } from '../device/sriov-change';
import { undoAbandonedVfs } from '../pci/binding/saved-vfs';
import { printError } from './errors';
import { interruptible } from './interrupt';
import { jsonText, type Output } from './output';
import { run, status } from './run';
import { type VfTokenFlags, vfTokenOf, withVfToken } from './vf-token';

interface SriovFlags extends Pick<SriovOptions, 'force'>, VfTokenFlags {
  readonly dryRun?: true;
  readonly json?: true;
}

/** `vfio sriov BDF N`: how many VFs a PF has. */
export function sriovCommand(output: Output = process.stdout): Command {
  const command = new Command('sriov')
    .description(
      'set the number of VFs of a PF; if it fails, or a signal ends it, the old ones are back',
    )
    .argument('<BDF>', 'PCI address of the PF')
    .argument('<N>', 'number of VFs; 0 removes them');
  return withVfToken(command, 'what openers of the VFs have to show (PF under vfio-pci)')
    .option('--force', 'also if VFs that will go are in use')
    .option('--dry-run', 'print what would be written, and write nothing')
    .option('--json', 'as a JSON object')
    .action((address: string, n: string, { dryRun, json, force, ...flags }: SriovFlags) =>
      run({ output, json }, async () => {
        const options = { ...(force ? { force } : {}), ...vfTokenOf(flags) };
        const count = /^\d+$/.test(n) ? Number(n) : Number.NaN;
        if (!dryRun) for (const { error } of await undoAbandonedVfs()) if (error) printError(error);
        const plan = planVfs(address, count, options);
        if (dryRun) {
          const lines = plan.writes.map(({ path, text }) => `echo ${text} > ${path}\n`);
          output.write(json ? jsonText(plan) : lines.join(''));
          return status.ok;
        }
        const vfs = await interruptible((signal) =>
          changeVfs(address, count, { ...options, signal }),
        );
        const text = `${plan.bdf}: ${plan.from} -> ${plan.to} VFs\n`;
        output.write(
          json ? jsonText({ ...plan, vfs }) : text + vfs.map((vf) => `  ${vf}\n`).join(''),
        );
        return status.ok;
      }),
    );
}
