/** What the programs that run rows are told by scripts/bench.mjs, and how they start those that measure. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Program } from './contest';

export interface RunOptions {
  readonly runs: number;
  readonly isWanted: (row: string) => boolean;
  /** A program of bench/c/. */
  readonly c: (name: string, ...args: readonly string[]) => Program;
  /** A script of ours for a row, with a profile of it if that is asked for. */
  readonly ours: (script: string, row: string, ...args: readonly string[]) => Program;
}

export function parseRunOptions(args: string[]): RunOptions {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      programs: { type: 'string' },
      runs: { type: 'string', default: '5' },
      profile: { type: 'string' },
    },
  });
  const { programs, profile } = values;
  if (programs === undefined) throw new Error('where are the C programs?');
  return {
    runs: Number(values.runs),
    isWanted: (row) => positionals.length === 0 || positionals.includes(row),
    c: (name, ...rest) => ({ file: join(programs, name), args: rest }),
    ours: (script, row, ...rest) => {
      const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}/${row}`];
      return {
        file: process.execPath,
        args: [...flags, join(__dirname, script), row, ...rest],
      };
    },
  };
}
