/** What the example programs share: arguments, exit codes, how an error is told. */
import { parseArgs } from 'node:util';

/** The arguments are wrong: the usage is printed and the program exits with 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Option values by name; every option takes one value. */
export type OptionValues = Readonly<Record<string, string | undefined>>;

export interface Program {
  readonly name: string;
  readonly usage: string;
  /** Options besides `--help`; each takes a value. */
  readonly options: Readonly<Record<string, { type: 'string' }>>;
}

/** Run `main` with the command line's options and positionals. Exit code 0, 1 (failed) or 2 (usage). */
export async function runProgram(
  program: Program,
  main: (options: OptionValues, positionals: string[]) => Promise<void>,
): Promise<void> {
  try {
    const { values, positionals } = parse(program);
    if (values.help) {
      console.log(program.usage);
      return;
    }
    await main(values as OptionValues, positionals);
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`${program.name}: ${error.message}\n\n${program.usage}`);
      process.exitCode = 2;
      return;
    }
    console.error(describeError(program.name, error));
    process.exitCode = 1;
  }
}

function parse(program: Program) {
  try {
    return parseArgs({
      allowPositionals: true,
      strict: true,
      options: { ...program.options, help: { type: 'boolean', short: 'h' } },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** `name: message`, then the error's `hint`, as VfioError has one, on a line of its own. */
export function describeError(name: string, error: unknown): string {
  if (!(error instanceof Error)) return `${name}: ${String(error)}`;
  const hint = 'hint' in error && typeof error.hint === 'string' ? `\n  hint: ${error.hint}` : '';
  return `${name}: ${error.message}${hint}`;
}

/** The value of a numeric option: a whole number of at least `min`. */
export function parseCount(name: string, text: string | undefined, min = 0): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min)) throw new UsageError(`--${name} ${text}: expected a whole number >= ${min}`);
  return value;
}

/** When a program is to end. */
export interface Stop {
  /** Aborted by SIGINT, SIGTERM, `stop` or after the given time. */
  readonly signal: AbortSignal;
  readonly stopped: Promise<void>;
  stop(): void;
  /** Nothing more will stop the program; without this it would wait for the time to pass. */
  release(): void;
}

/** Listen for SIGINT and SIGTERM, and end after `seconds` if given. */
export function listenForStop(seconds?: number): Stop {
  const controller = new AbortController();
  const { signal } = controller;
  const stop = () => controller.abort();
  const timer = seconds === undefined ? undefined : setTimeout(stop, seconds * 1000);
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return {
    signal,
    stopped: new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
    }),
    stop,
    release() {
      clearTimeout(timer);
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
    },
  };
}

/** One JSON object a line on standard output: the programs' machine-readable report. */
export function emit(event: string, fields: Record<string, unknown> = {}): void {
  console.log(JSON.stringify({ event, ...fields }));
}
