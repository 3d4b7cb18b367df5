/** The `vfio` program, with no more of it loaded than a command line asks for. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { packageRoot } from '../package-root';

type Loader = (guestCommand: readonly string[]) => Promise<Command>;

/** Starting takes as long as loading does: seconds for all of it on an emulated processor. */
const loaders: Readonly<Record<string, Loader>> = {
  lab: async (guestCommand) => (await import('./lab')).labCommand(guestCommand),
  list: async () => (await import('./list')).listCommand(),
  info: async () => (await import('./info')).infoCommand(),
  config: async () => (await import('./config')).configCommand(),
  regs: async () => (await import('./regs')).regsCommand(),
  reset: async () => (await import('./reset')).resetCommand(),
  bind: async () => (await import('./bind')).bindCommand(),
  restore: async () => (await import('./bind')).restoreCommand(),
  sriov: async () => (await import('./sriov')).sriovCommand(),
  doctor: async () => (await import('./doctor')).doctorCommand(),
  topology: async () => (await import('./topology')).topologyCommand(),
  uapi: async () => (await import('./uapi')).uapiCommand(),
  completion: async () =>
    (await import('./completion')).completionCommand(() => loadProgram(undefined)),
};

export const commandNames: readonly string[] = Object.keys(loaders);

/**
 * The program with the command of that name, or with all, as help wants them, where there is none.
 *
 * @param guestCommand what followed `--`: for `vfio lab`
 */
export async function loadProgram(
  name: string | undefined,
  guestCommand: readonly string[] = [],
): Promise<Command> {
  const wanted = commandNames.filter((known) => known === name);
  const program = new Command('vfio')
    .description('user-space device drivers on Linux VFIO')
    .version(version(), '--version')
    // What follows a command's name is that command's, as its subcommands expect.
    .enablePositionalOptions();
  if (name === '--version') return program;
  for (const known of wanted.length > 0 ? wanted : commandNames) {
    program.addCommand(await loaders[known]!(guestCommand));
  }
  return program;
}

function version(): string {
  const manifest = readFileSync(join(packageRoot(), 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
