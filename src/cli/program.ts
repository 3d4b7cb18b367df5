/** The `vfio` program, with no more of it loaded than a command line asks for. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { packageRoot } from '../package-root';

/** In CommonJS this is what loads late; `import()` would go through the loader of ES modules. */
const load = <Module>(path: string): Module => require(path);

type Loader = (guestCommand: readonly string[]) => Command;

/** Starting takes as long as loading does: seconds for all of it on an emulated processor. */
const loaders: Readonly<Record<string, Loader>> = {
  lab: (guestCommand) => load<typeof import('./lab')>('./lab').labCommand(guestCommand),
  list: () => load<typeof import('./list')>('./list').listCommand(),
  info: () => load<typeof import('./info')>('./info').infoCommand(),
  config: () => load<typeof import('./config')>('./config').configCommand(),
  regs: () => load<typeof import('./regs')>('./regs').regsCommand(),
  reset: () => load<typeof import('./reset')>('./reset').resetCommand(),
  bind: () => load<typeof import('./bind')>('./bind').bindCommand(),
  restore: () => load<typeof import('./bind')>('./bind').restoreCommand(),
  sriov: () => load<typeof import('./sriov')>('./sriov').sriovCommand(),
  doctor: () => load<typeof import('./doctor')>('./doctor').doctorCommand(),
  topology: () => load<typeof import('./topology')>('./topology').topologyCommand(),
  uapi: () => load<typeof import('./uapi')>('./uapi').uapiCommand(),
  completion: () =>
    load<typeof import('./completion')>('./completion').completionCommand(() =>
      loadProgram(undefined),
    ),
};

export const commandNames: readonly string[] = Object.keys(loaders);

/**
 * The program with the command of that name, or with all, as help wants them, where there is none.
 *
 * @param guestCommand what followed `--`: for `vfio lab`
 */
export function loadProgram(
  name: string | undefined,
  guestCommand: readonly string[] = [],
): Command {
  const wanted = commandNames.filter((known) => known === name);
  const program = new Command('vfio')
    .description('user-space device drivers on Linux VFIO')
    .version(version(), '--version')
    // What follows a command's name is that command's, as its subcommands expect.
    .enablePositionalOptions();
  if (name === '--version') return program;
  for (const known of wanted.length > 0 ? wanted : commandNames) {
    program.addCommand(loaders[known]!(guestCommand));
  }
  return program;
}

function version(): string {
  const manifest = readFileSync(join(packageRoot(), 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
