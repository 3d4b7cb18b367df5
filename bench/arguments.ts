/** What the programs that run rows are told by scripts/bench.mjs, and how they run one. */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';

export interface RunOptions {
  /** Where the C programs are. */
  readonly programs: string;
  readonly runs: number;
  /** Where profiles of our side go; undefined for none. */
  readonly profile: string | undefined;
  readonly isWanted: (row: string) => boolean;
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
    programs,
    runs: Number(values.runs),
    profile,
    isWanted: (row) => positionals.length === 0 || positionals.includes(row),
  };
}

/** The number that a program prints. */
export function numberFrom(file: string, args: readonly string[]): number {
  return Number(execFileSync(file, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
}

/** The number that a script of ours prints; with a profile of its run, named by `row`. */
export function numberFromOurs(
  script: string,
  args: readonly string[],
  { profile }: RunOptions,
): number {
  const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}/${args[0]}`];
  return numberFrom(process.execPath, [...flags, script, ...args]);
}
