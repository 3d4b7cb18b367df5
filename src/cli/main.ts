#!/usr/bin/env node
import * as nodeModule from 'node:module';
import { join } from 'node:path';
import { cacheDirectory } from '../lab/paths';
import { splitCommandLine } from './arguments';

/**
 * From Node 22.8 on, what is loaded after this is compiled once. Not in the default directory, which
 * is below /tmp: others could put code there for root to run.
 */
const { enableCompileCache } = nodeModule as {
  enableCompileCache?: (directory: string) => unknown;
};
enableCompileCache?.(join(cacheDirectory(), 'compiled'));

async function main(): Promise<void> {
  const { own, guestCommand } = splitCommandLine(process.argv);
  const { loadProgram } = await import('./program');
  await (await loadProgram(own[2], guestCommand)).parseAsync(own);
}

void main();
