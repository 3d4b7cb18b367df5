#!/usr/bin/env node
import { Command } from 'commander';
import { bindCommand, restoreCommand } from './bind';
import { configCommand } from './config';
import { doctorCommand } from './doctor';
import { infoCommand } from './info';
import { labCommand } from './lab';
import { listCommand } from './list';
import { regsCommand } from './regs';
import { resetCommand } from './reset';
import { sriovCommand } from './sriov';
import { topologyCommand } from './topology';
import { uapiCommand } from './uapi';

const [own, guestCommand] = splitAtDashes(process.argv);

const program = new Command('vfio')
  .description('user-space device drivers on Linux VFIO')
  .addCommand(labCommand(guestCommand))
  .addCommand(listCommand())
  .addCommand(infoCommand())
  .addCommand(configCommand())
  .addCommand(regsCommand())
  .addCommand(resetCommand())
  .addCommand(bindCommand())
  .addCommand(restoreCommand())
  .addCommand(sriovCommand())
  .addCommand(doctorCommand())
  .addCommand(topologyCommand())
  .addCommand(uapiCommand());

void program.parseAsync(own);

function splitAtDashes(argv: readonly string[]): [before: readonly string[], after: string[]] {
  const dashes = argv.indexOf('--');
  return dashes < 0 ? [argv, []] : [argv.slice(0, dashes), argv.slice(dashes + 1)];
}
