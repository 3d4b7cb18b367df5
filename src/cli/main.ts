#!/usr/bin/env node
import { loadProgram } from './program';

const [own, guestCommand] = splitAtDashes(process.argv);

void loadProgram(own[2], guestCommand).parseAsync(own);

function splitAtDashes(argv: readonly string[]): [before: readonly string[], after: string[]] {
  const dashes = argv.indexOf('--');
  return dashes < 0 ? [argv, []] : [argv.slice(0, dashes), argv.slice(dashes + 1)];
}
