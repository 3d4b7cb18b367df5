/** Ours and C's, interleaved: what a row is, and how it is measured. */
import { spawnSync } from 'node:child_process';

export interface Row {
  readonly name: string;
  readonly where: 'lab' | 'native';
  readonly unit: 'ns' | 'IOPS' | 'bytes';
  readonly ours: readonly number[];
  /** Empty where there is nothing to compare with. */
  readonly c: readonly number[];
  /** Median of ours to median of C's; null without one. */
  readonly ratio: number | null;
}

export type Command = readonly string[];

export interface Pair {
  readonly name: string;
  readonly where: Row['where'];
  readonly unit: Row['unit'];
  readonly ours: Command;
  readonly c: Command;
  /** The number in a program's output; by default all of it. */
  parse?(output: string): number;
}

export function measure({ name, where, unit, ours, c, parse = Number }: Pair, runs: number): Row {
  const row = { ours: [] as number[], c: [] as number[] };
  for (let i = 0; i < runs; i++) {
    row.ours.push(run(name, ours, parse));
    row.c.push(run(name, c, Number));
  }
  return { name, where, unit, ...row, ratio: median(row.ours) / median(row.c) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** Lowest and highest, as a part of the median. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}

export function run(
  name: string,
  [program = '', ...args]: Command,
  parse: (output: string) => number = Number,
): number {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  const value = parse(stdout ?? '');
  if (status !== 0 || stdout === '' || !Number.isFinite(value)) {
    throw new Error(`${name}: ${program} ${args.join(' ')} failed:\n${stderr}`);
  }
  return value;
}
