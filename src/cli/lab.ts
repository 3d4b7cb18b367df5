import { constants } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import {
  DEFAULT_DEVICES,
  guestEnvironment,
  iommuKinds,
  type Lab,
  LabError,
  presetNames,
  startLab,
} from '../lab';
import { printError } from './errors';
import { labKernelCommand } from './lab-kernel';
import { setup } from './lab-setup';
import { LAB_FAILED, progress } from './lab-status';

/** The options of `vfio lab`, as commander hands them over. */
interface LabFlags {
  device?: string[];
  memory?: string;
  cpus?: number;
  kernel?: string;
  iommu?: string;
  qemu?: string;
  qemuArg?: string[];
  append?: string;
  env?: Record<string, string>;
  out?: string;
  timeout?: number;
  verbose?: true;
}

/**
 * `vfio lab`: runs a command in a VM and ends with its status.
 *
 * @param guestCommand what followed `--` on the command line; kept away from commander, to which
 *   `lab -- setup` and `lab setup` would be the same
 */
export function labCommand(guestCommand: readonly string[]): Command {
  const lab = new Command('lab')
    .description('run a command as root in a nested VM with an IOMMU and PCI devices')
    .usage('[options] -- COMMAND [ARG...]')
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : LAB_FAILED))
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
    .option('--env <NAME[=VALUE]>', 'variable to pass, repeatable', variable)
    .option('--out <DIR>', 'directory that the guest may write to')
    .option('--timeout <S>', 'seconds the command may take, 0 for no limit (default: 600)', number)
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
  return lab.addCommand(labKernelCommand());
}

const help = `
SPEC is ${presetNames.join(', ')}, each with device properties after a comma if
wanted (edu,dma_mask=0xffffffff), or anything that QEMU's -device takes.

KERNEL is the distribution's (stock), one with iommufd, VFIO character devices, no-IOMMU mode and
mediated devices (lab; see vfio lab kernel), the one that this machine runs (host), or a file with
its modules in lib/modules beside it.

The guest sees the files of this machine read-only at the same paths, and starts in the same
directory. What it writes to /tmp is lost with it; --out is where results go. vfio-pci is loaded,
no device is bound yet. There is no network. Passed from the environment: PATH, HOME, TERM, LANG,
CI, FORCE_COLOR, NO_COLOR, NODE_* and VFIO_*.

The exit status is that of COMMAND. It is ${LAB_FAILED} if the VM dies, panics, or takes too long.`;

async function run(command: readonly string[], flags: LabFlags): Promise<number> {
  let lab: Lab | undefined;
  const signals = forwardSignals(() => lab);
  try {
    lab = await startLab({
      command,
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
      timeout: flags.timeout,
      onConsole: flags.verbose && ((text) => process.stderr.write(text)),
      progress,
    });
    return (await lab.exit).status;
  } catch (error) {
    if (signals.last !== undefined) return 128 + constants.signals[signals.last];
    if (isBrokenPipe(error)) return 128 + constants.signals.SIGPIPE;
    printError(error);
    return LAB_FAILED;
  } finally {
    await lab?.close();
    signals.restore();
  }
}

/**
 * The first SIGINT or SIGTERM goes to the command in the guest, which may clean up and whose status
 * is reported as ever. The second one, or one before there is a command, ends the VM.
 */
function forwardSignals(current: () => Lab | undefined): {
  last: NodeJS.Signals | undefined;
  restore(): void;
} {
  const names: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  let forwarded = false;
  const onSignal = (name: NodeJS.Signals): void => {
    const lab = current();
    if (lab === undefined) process.exit(128 + constants.signals[name]);
    if (forwarded) {
      state.last = name;
      void lab.close();
    } else {
      forwarded = true;
      lab.signal(name);
    }
  };
  const state = {
    last: undefined as NodeJS.Signals | undefined,
    restore: () => {
      for (const name of names) process.off(name, onSignal);
    },
  };
  for (const name of names) process.on(name, onSignal);
  return state;
}

/** `vfio lab -- ... | head` ends as quietly as any other command does there. */
function isBrokenPipe(error: unknown): boolean {
  const cause = error instanceof LabError && error.code === 'LAB_OUTPUT' ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'EPIPE';
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

function variable(text: string, previous: Record<string, string> = {}): Record<string, string> {
  const equals = text.indexOf('=');
  if (equals > 0) return { ...previous, [text.slice(0, equals)]: text.slice(equals + 1) };
  const value = process.env[text];
  if (value === undefined) throw new InvalidArgumentError('It is not set here; give NAME=VALUE.');
  return { ...previous, [text]: value };
}

function number(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) throw new InvalidArgumentError('Not a number.');
  return value;
}

function integer(text: string): number {
  const value = number(text);
  if (!Number.isInteger(value)) throw new InvalidArgumentError('Not an integer.');
  return value;
}
