import { constants } from 'node:os';
import { Command } from 'commander';
import { buildLabKernel, findLabKernel } from '../lab';
import { printError } from './errors';
import { LAB_FAILED, progress } from './lab-status';

/** `vfio lab kernel`: builds the kernel of `--kernel lab`, and prints where it is. */
export function labKernelCommand(): Command {
  return new Command('kernel')
    .description('build the kernel of --kernel lab, if it is not there yet, and print its path')
    .option('--update', 'rebuild it if the distribution has a newer source')
    .action(async (flags: { update?: true }) => {
      process.exitCode = await kernel(flags.update ?? false);
    });
}

async function kernel(update: boolean): Promise<number> {
  const abort = new AbortController();
  let ended: NodeJS.Signals | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    ended = name;
    progress('stopping');
    abort.abort();
  };
  const names: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const name of names) process.once(name, onSignal);
  try {
    const found = update ? undefined : findLabKernel();
    const { image } = found ?? (await buildLabKernel({ progress, signal: abort.signal }));
    process.stdout.write(`${image}\n`);
    return 0;
  } catch (error) {
    if (ended !== undefined) return 128 + constants.signals[ended];
    printError(error);
    return LAB_FAILED;
  } finally {
    for (const name of names) process.off(name, onSignal);
  }
}
