/** `vfio lab exec`, `ps` and `stop`: labs that another process started. */
import { constants } from 'node:os';
import { Command } from 'commander';
import { attachLab, guestEnvironment, LabError, listLabs, type RunningLab } from '../lab';
import { type CommandFlags, withCommandOptions } from './lab-options';
import { failed, planSession, runSession, Signals } from './lab-session';
import { LAB_FAILED } from './lab-status';
import { jsonText, type Output, tableText } from './output';

/** @param guestCommand what followed `--`, see labCommand() */
export function labExecCommand(guestCommand: readonly string[]): Command {
  return withCommandOptions(new Command('exec'))
    .description('run a command, or a shell, in a lab that is running')
    .usage('[options] ID [-- COMMAND [ARG...]]')
    .argument('<ID>', 'of the lab, see vfio lab ps')
    .action(async (id: string, flags: CommandFlags) => {
      process.exitCode = await exec(id, guestCommand, flags);
    });
}

export function labPsCommand(output: Output = process.stdout): Command {
  return new Command('ps')
    .description('list the labs of this user that are running')
    .option('--json', 'as a JSON array')
    .action(async ({ json }: { json?: true }) => {
      try {
        const labs = await listLabs();
        output.write(json ? jsonText(labs) : table(labs));
      } catch (error) {
        process.exitCode = failed(error);
      }
    });
}

export function labStopCommand(): Command {
  return new Command('stop')
    .description('end a lab that is running')
    .argument('[ID...]', 'of the labs, see vfio lab ps')
    .option('--all', 'end all of this user')
    .action(async (ids: string[], { all }: { all?: true }) => {
      process.exitCode = await stop(ids, all ?? false);
    });
}

async function exec(
  id: string,
  guestCommand: readonly string[],
  flags: CommandFlags,
): Promise<number> {
  // The guest kills a command whose terminal or pipes are gone.
  const end = () => process.exit(128 + constants.signals[signals.last ?? 'SIGHUP']);
  using signals = new Signals(end);
  try {
    const session = planSession(guestCommand, flags.tty);
    await using lab = await attachLab(id);
    const env = { ...guestEnvironment(process.env), ...flags.env };
    const host = { spawn: lab.spawn.bind(lab), end };
    return await runSession(session, host, signals, { env, timeout: flags.timeout });
  } catch (error) {
    return failed(error, signals);
  }
}

async function stop(ids: readonly string[], all: boolean): Promise<number> {
  try {
    if (ids.length === 0 && !all) {
      throw new LabError('LAB_ARGUMENT', 'no lab to stop', {
        hint: 'give an ID of vfio lab ps, or --all',
      });
    }
    const wanted = all ? (await listLabs()).map(({ id }) => id) : ids;
    for (const id of wanted) {
      await using lab = await attachLab(id);
      await lab.stop();
    }
    return 0;
  } catch (error) {
    failed(error);
    return LAB_FAILED;
  }
}

function table(labs: readonly RunningLab[]): string {
  const rows = labs.map(({ id, pid, started, kernel, devices, commands }) => [
    id,
    String(pid),
    duration(Date.now() - started.getTime()),
    kernel,
    devices.join(' ') || '-',
    commands.map((command) => command.join(' ')).join('; ') || '-',
  ]);
  return tableText([['ID', 'PID', 'AGE', 'KERNEL', 'DEVICES', 'COMMANDS'], ...rows]);
}

/** `42 s`, `5 min`, `3 h`, `2 d`. */
function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
