/**
 * This library and C in turn: each is a process, which stays while the other measures, so that the two
 * alternate every fraction of a second. A machine that is slower for a while is that for both.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { makeRow, median, type Row, tableLine } from './statistics';

export interface Program {
  readonly file: string;
  readonly args: readonly string[];
}

export interface Contest {
  readonly name: string;
  readonly where: Row['where'];
  readonly unit: string;
  readonly ours: Program;
  /** Undefined where C has nothing to compare. */
  readonly c: Program | undefined;
  /** How often the two processes are started. */
  readonly runs: number;
  /** How often each of them measures, in turn with the other; their median is the value of the run. */
  readonly slices: number;
}

/** A process that measures whenever it is told to; it speaks as answer.ts, bench/c/vfio.h in C. */
interface Contender {
  /** Set up, and warm. */
  ready(): Promise<void>;
  measure(): Promise<number>;
  end(): Promise<void>;
}

function start({ file, args }: Program): Contender {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${file} ${args.join(' ')} ended`);
    return value;
  };
  return {
    ready: async () => void (await next()),
    measure: async () => {
      child.stdin.write('\n');
      return Number(await next());
    },
    end: async () => {
      child.stdin.end();
      const [code] = await exit;
      if (code !== 0) throw new Error(`${file} ${args.join(' ')}: exit ${code}`);
    },
  };
}

/** The median of each contender's slices. */
async function run(programs: readonly Program[], slices: number): Promise<number[]> {
  const contenders = programs.map(start);
  for (const contender of contenders) await contender.ready();
  const values = contenders.map(() => new Float64Array(slices));
  for (let slice = 0; slice < slices; slice++) {
    for (const [i, contender] of contenders.entries())
      values[i]![slice] = await contender.measure();
  }
  for (const contender of contenders) await contender.end();
  return values.map(median);
}

async function contest({ ours, c, runs, slices, ...row }: Contest): Promise<Row> {
  const programs = c === undefined ? [ours] : [ours, c];
  const values: number[][] = [];
  for (let i = 0; i < runs; i++) values.push(await run(programs, slices));
  return makeRow({
    ...row,
    ours: values.map(([mine]) => mine!),
    c: c === undefined ? [] : values.map(([, theirs]) => theirs!),
  });
}

/** One after the other; each row is told on stderr as soon as it is there. */
export async function runContests(contests: readonly Contest[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const each of contests) {
    const row = await contest(each);
    console.error(tableLine(row));
    rows.push(row);
  }
  return rows;
}
