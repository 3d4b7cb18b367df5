import { Command } from 'commander';
import {
  DEFAULT_DEVICES,
  guestEnvironment,
  iommuKinds,
  type Lab,
  LabError,
  presetNames,
  startLab,
} from '../lab';
import { labKernelCommand } from './lab-kernel';
import { type CommandFlags, collect, integer, withCommandOptions } from './lab-options';
import { labExecCommand, labPsCommand, labStopCommand } from './lab-running';
import { failed, planSession, runSession, Signals } from './lab-session';
import { setup } from './lab-setup';
import { LAB_FAILED, progress, StartNotice } from './lab-status';

/** The options of `vfio lab`, as commander hands them over. */
interface LabFlags extends CommandFlags {
  device?: string[];
  memory?: string;
  cpus?: number;
  kernel?: string;
  iommu?: string;
  qemu?: string;
  qemuArg?: string[];
  append?: string;
  out?: string;
  hide?: string[];
  keep?: true;
  verbose?: true;
}

/**
 * `vfio lab`: runs a command in a VM and ends with its status.
 *
 * @param guestCommand what followed `--` on the command line; kept away from commander, to which
 *   `lab -- setup` and `lab setup` would be the same
 */
export function labCommand(guestCommand: readonly string[]): Command {
  const lab = withCommandOptions(new Command('lab'))
    .description('run a command, or a shell, as root in a nested VM with an IOMMU and PCI devices')
    .usage('[options] [-- COMMAND [ARG...]]')
    // Those of exec are its own, though lab has options of the same names.
    .enablePositionalOptions()
    .option(
      '--device <SPEC>',
      `device to plug in, repeatable; replaces ${DEFAULT_DEVICES}`,
      collect,
    )
    .option('--memory <SIZE>', 'memory of the guest (default: 2G)')
    .option('--cpus <N>', 'virtual CPUs (default: 2)', integer)
    .option('--kernel <KERNEL>', "'stock', 'lab', 'host' or the path of a bzImage (default: stock)")
    .option(
      '--iommu <IOMMU>',
      `${iommuKinds.join(', ')}, with properties after a comma (default: intel)`,
    )
    .option('--qemu <PATH>', 'QEMU 8.0 or newer to use instead of the one that the set-up unpacked')
    .option('--append <CMDLINE>', 'parameters to add to the kernel command line')
    .option('--qemu-arg <ARG>', 'argument to add to those of QEMU, repeatable', collect)
    .option('--out <DIR>', 'directory whose changes reach this machine')
    .option(
      '--hide <PATH>',
      'file or directory that the guest is to see as empty, repeatable',
      collect,
    )
    .option('--keep', 'leave the VM running after the command, for vfio lab exec')
    .option('--verbose', 'show the console of the guest and what the set-up does')
    .addHelpText('after', help)
    .action(async (flags: LabFlags) => {
      process.exitCode = await run(guestCommand, flags);
    });
  lab
    .command('setup')
    .description('only fetch what the lab needs (QEMU, kernel, busybox), and print where it is')
    .action(async () => {
      process.exitCode = await setup(lab.opts<LabFlags>());
    });
  return lab
    .addCommand(labKernelCommand())
    .addCommand(labExecCommand(guestCommand))
    .addCommand(labPsCommand())
    .addCommand(labStopCommand());
}

const help = `
Without COMMAND, a shell on this terminal. Ctrl-] three times within a second ends a VM that does
not answer.

SPEC is ${presetNames.join(', ')}, each with device properties after a comma if
wanted (edu,dma_mask=0xffffffff), or anything that QEMU's -device takes.

KERNEL is the distribution's (stock), one with iommufd, VFIO character devices, no-IOMMU mode and
mediated devices (lab; see vfio lab kernel), the one that this machine runs (host), or a file with
its modules in lib/modules beside it.

The guest sees the files of this machine at the same paths, and starts in the same directory. It may
write anywhere, and what it writes is lost with it, except in --out. Keys and passwords in the usual
places are left out (docs/lab.md has the list). vfio-pci is loaded, no device is bound yet. There is
no network. Passed from the environment: PATH (after node_modules/.bin), HOME, TERM, COLORTERM, LANG,
CI, FORCE_COLOR, NO_COLOR, NODE_* and VFIO_*.

The exit status is that of COMMAND. It is ${LAB_FAILED} if the VM dies, panics, or takes too long.`;

async function run(guestCommand: readonly string[], flags: LabFlags): Promise<number> {
  let lab: Lab | undefined;
  const notice = new StartNotice();
  const end = () => void lab?.close();
  using signals = new Signals(end);
  try {
    const session = planSession(guestCommand, flags.tty);
    lab = await startLab({
      devices: flags.device,
      memory: flags.memory,
      cpus: flags.cpus,
      kernel: flags.kernel,
      iommu: flags.iommu,
      qemu: flags.qemu,
      append: flags.append,
      qemuArgs: flags.qemuArg,
      env: { ...guestEnvironment(process.env), ...flags.env },
      out: flags.out,
      hide: flags.hide,
      onConsole: flags.verbose && ((text) => process.stderr.write(text)),
      progress: notice.report,
    });
    notice.done();
    const host = { spawn: lab.spawn.bind(lab), end };
    const status = await runSession(session, host, signals, { timeout: flags.timeout });
    if (flags.keep) await keep(lab);
    return status;
  } catch (error) {
    if (flags.keep && lab && isOfCommand(error)) await keep(lab);
    return failed(error, signals);
  } finally {
    notice.done();
    if (!flags.keep) await lab?.close();
  }
}

async function keep(lab: Lab): Promise<void> {
  await lab.keep();
  progress(`${lab.id} runs on: vfio lab exec ${lab.id} -- COMMAND, vfio lab stop ${lab.id}`);
}

/** A failure after which the VM is as good as before. */
function isOfCommand(error: unknown): boolean {
  const codes = ['LAB_TIMEOUT', 'LAB_OUTPUT', 'LAB_ARGUMENT'];
  return error instanceof LabError && codes.includes(error.code);
}
