import { mkdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { LabError } from './errors';
import type { GuestCommand } from './guest/init';
import { DEFAULT_DEVICES, hasIgb } from './machine/devices';
import type { Machine } from './machine/qemu';

/** What a lab is to be like. Only `command` is required. */
export interface LabOptions {
  /** The program and its arguments; looked up in the PATH, as there is no shell. */
  command: readonly string[];
  /** Presets or QEMU device strings, see deviceArguments(); default: igb, edu, nvme. */
  devices?: readonly string[];
  /** Guest memory as QEMU writes it (`512M`, `2G`); default 2G. */
  memory?: string;
  /** Virtual CPUs; default 2, or 1 on a host with a single one. */
  cpus?: number;
  /** `stock` (default), `lab`, `host` or the path of a bzImage, see resolveKernel(). */
  kernel?: string;
  /** Directory in which the command starts, the same on both sides; default: this one. */
  cwd?: string;
  /** Environment of the command; default: {@link guestEnvironment}() of this process. */
  env?: Readonly<Record<string, string>>;
  /** Directory whose changes reach the host; made if missing. */
  out?: string;
  /** Seconds the command may take; default 600, 0 for no limit. */
  timeout?: number;
  /** Parameters added to the kernel's command line. */
  append?: string;
  /** Arguments added to QEMU's. */
  qemuArgs?: readonly string[];
  /** Where the command's stdout goes, byte for byte; not ended. Default: this process's. */
  stdout?: Writable;
  /** Where the command's stderr goes. Default: this process's. */
  stderr?: Writable;
  /** Sees the guest's serial console as it comes. */
  onConsole?: (text: string) => void;
  /** Sees what the set-up does, a line at a time. */
  progress?: (line: string) => void;
}

/** Options with everything decided and checked. */
export interface LabPlan {
  kernel: string;
  guest: Pick<GuestCommand, 'command' | 'cwd' | 'env' | 'out'>;
  machine: Omit<Machine, 'accelerator' | 'kernelImage' | 'initramfs'>;
  /** Seconds; undefined for no limit. */
  timeout: number | undefined;
  stdout: Writable;
  stderr: Writable;
  onConsole: ((text: string) => void) | undefined;
  progress: (line: string) => void;
}

const DEFAULT_TIMEOUT = 600;

/** setTimeout() fires at once beyond this many seconds. */
const MAX_TIMEOUT = 2_147_483;

/**
 * Checks options and fills in the defaults; makes the `out` directory.
 *
 * @throws LabError `LAB_ARGUMENT`
 */
export function planLab(options: LabOptions): LabPlan {
  const devices = options.devices ?? DEFAULT_DEVICES;
  const memory = options.memory ?? '2G';
  checkCommand(options.command);
  checkMemory(memory, devices);
  const cwd = resolve(options.cwd ?? '.');
  const env = options.env ?? guestEnvironment(process.env, cwd);
  checkEnvironment(env);
  const out = options.out === undefined ? undefined : makeDirectory(resolve(options.out));
  return {
    kernel: options.kernel ?? 'stock',
    guest: { command: options.command, cwd, env, out },
    machine: {
      devices,
      memory,
      cpus: checkCount('cpus', options.cpus ?? Math.min(2, availableParallelism()), 1, 64),
      append: options.append,
      out,
      qemuArgs: options.qemuArgs ?? [],
    },
    timeout: checkTimeout(options.timeout ?? DEFAULT_TIMEOUT),
    stdout: options.stdout ?? process.stdout,
    stderr: options.stderr ?? process.stderr,
    onConsole: options.onConsole,
    progress: options.progress ?? (() => {}),
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

/**
 * Bytes of a size as QEMU's `-m` takes it: a number with K, M, G or T, MiB if without.
 *
 * @throws LabError `LAB_ARGUMENT`
 */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)$/i.exec(text);
  if (match === null) {
    throw new LabError('LAB_ARGUMENT', `not a memory size: ${JSON.stringify(text)}`, {
      hint: 'give a number and K, M or G, such as 2G',
    });
  }
  const exponent = { K: 10, M: 20, G: 30, T: 40 }[match[2]?.toUpperCase() || 'M'] ?? 20;
  return Number(match[1]) * 2 ** exponent;
}

function checkMemory(memory: string, devices: readonly string[]): void {
  const bytes = parseMemory(memory);
  if (bytes < 128 * 2 ** 20) {
    throw new LabError('LAB_ARGUMENT', `${memory} of memory is not enough to boot a guest`);
  }
  // Firmware then puts the VFs' BARs above 4 GiB and QEMU drops the upper half of their addresses.
  if (bytes >= 4 * 2 ** 30 && hasIgb(devices)) {
    throw new LabError('LAB_ARGUMENT', `${memory} of memory would break the VFs of the igb`, {
      hint: 'QEMU mislays igb VF registers when the guest has 4G or more: stay below, or use other devices',
    });
  }
}

function checkCommand(command: readonly string[]): void {
  if (command.length === 0 || command[0] === '') {
    throw new LabError('LAB_ARGUMENT', 'no command to run in the lab');
  }
  if (command.some((word) => word.includes('\0'))) {
    throw new LabError('LAB_ARGUMENT', 'a command cannot contain NUL characters');
  }
}

function checkEnvironment(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) {
    if (!/^[A-Za-z_]\w*$/.test(name) || value.includes('\0')) {
      throw new LabError('LAB_ARGUMENT', `cannot pass the variable ${JSON.stringify(name)}`);
    }
  }
}

function checkCount(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new LabError('LAB_ARGUMENT', `${name} must be an integer from ${least} to ${most}`);
}

function checkTimeout(seconds: number): number | undefined {
  if (seconds >= 0 && seconds <= MAX_TIMEOUT) return seconds === 0 ? undefined : seconds;
  throw new LabError('LAB_ARGUMENT', `timeout must be from 0 to ${MAX_TIMEOUT} seconds`);
}

function makeDirectory(path: string): string {
  try {
    mkdirSync(path, { recursive: true });
    if (statSync(path).isDirectory()) return path;
  } catch (cause) {
    throw new LabError('LAB_ARGUMENT', `cannot make the directory ${path}`, { cause });
  }
  throw new LabError('LAB_ARGUMENT', `${path} is not a directory`);
}
