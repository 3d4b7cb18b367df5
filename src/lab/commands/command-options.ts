import { join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { LabError } from '../errors';

/** How a command of a lab runs. */
export interface CommandOptions {
  /** Directory in which it starts, the same on both sides; default: that of the lab. */
  cwd?: string;
  /** Its environment; default: that of the lab. */
  env?: Readonly<Record<string, string>>;
  /** What it reads, byte for byte to the end. Default: nothing. */
  stdin?: Readable;
  /** Where its stdout goes, byte for byte; not ended. Default: this process's. */
  stdout?: Writable;
  /** Where its stderr goes. Default: this process's. */
  stderr?: Writable;
  /** Seconds it may take; default 600, 0 for no limit. */
  timeout?: number;
  /**
   * Gives it a terminal of this size, by script(1) of util-linux: `stdin` and `stdout` are what is
   * typed and shown, and there is no stderr apart from it.
   */
  terminal?: TerminalSize;
}

export interface TerminalSize {
  columns: number;
  rows: number;
}

/** Options with everything decided and checked. */
export interface CommandPlan {
  command: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
  stdin: Readable | undefined;
  stdout: Writable;
  stderr: Writable;
  /** Seconds; undefined for no limit. */
  timeout: number | undefined;
  terminal: TerminalSize | undefined;
}

const DEFAULT_TIMEOUT = 600;

/** setTimeout() fires at once beyond this many seconds. */
const MAX_TIMEOUT = 2_147_483;

/**
 * Checks options and fills in the defaults.
 *
 * @throws LabError `LAB_ARGUMENT`
 */
export function planCommand(
  command: readonly string[],
  options: CommandOptions,
  defaults: { cwd: string; env: Readonly<Record<string, string>> | undefined },
): CommandPlan {
  checkCommand(command);
  const cwd = resolve(options.cwd ?? defaults.cwd);
  const env = options.env ?? defaults.env ?? guestEnvironment(process.env, cwd);
  checkEnvironment(env);
  return {
    command,
    cwd,
    env,
    stdin: options.stdin,
    stdout: options.stdout ?? process.stdout,
    stderr: options.stderr ?? process.stderr,
    timeout: checkTimeout(options.timeout ?? DEFAULT_TIMEOUT),
    terminal: options.terminal && checkSize(options.terminal),
  };
}

/**
 * What of an environment the guest gets: PATH (after the programs of npm packages in `cwd`, and with
 * the system directories, which hold modprobe), HOME, TERM, COLORTERM, LANG, CI, FORCE_COLOR,
 * NO_COLOR, and all of NODE_* and VFIO_*.
 */
export function guestEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  cwd = process.cwd(),
): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined) continue;
    if (/^(HOME|TERM|COLORTERM|LANG|CI|FORCE_COLOR|NO_COLOR|NODE_\w+|VFIO_\w+)$/.test(name)) {
      passed[name] = value;
    }
  }
  const directories = (environment.PATH ?? '/usr/local/bin:/usr/bin:/bin').split(':');
  const path = new Set([join(cwd, 'node_modules/.bin'), ...directories, '/usr/sbin', '/sbin']);
  return { ...passed, PATH: [...path].join(':') };
}

/** @throws LabError `LAB_ARGUMENT` */
export function checkEnvironment(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) {
    if (!/^[A-Za-z_]\w*$/.test(name) || value.includes('\0')) {
      throw new LabError('LAB_ARGUMENT', `cannot pass the variable ${JSON.stringify(name)}`, {
        hint: 'use letters, digits and underscores in its name, and no NUL character in its value',
      });
    }
  }
}

function checkCommand(command: readonly string[]): void {
  if (command.length === 0 || command[0] === '') {
    throw new LabError('LAB_ARGUMENT', 'no command to run in the lab', {
      hint: 'give a program and its arguments',
    });
  }
  if (command.some((word) => word.includes('\0'))) {
    throw new LabError('LAB_ARGUMENT', 'a command cannot contain NUL characters', {
      hint: 'write such bytes to a file or to stdin instead',
    });
  }
}

function checkTimeout(seconds: number): number | undefined {
  if (seconds >= 0 && seconds <= MAX_TIMEOUT) return seconds === 0 ? undefined : seconds;
  throw new LabError('LAB_ARGUMENT', `timeout must be from 0 to ${MAX_TIMEOUT} seconds`, {
    hint: '0 is no limit',
  });
}

function checkSize(size: TerminalSize): TerminalSize {
  const fits = (cells: number) => Number.isInteger(cells) && cells >= 0 && cells <= 0xffff;
  if (fits(size.columns) && fits(size.rows)) return size;
  throw new LabError('LAB_ARGUMENT', 'columns and rows of a terminal must be from 0 to 65535', {
    hint: 'use those of process.stdout',
  });
}
