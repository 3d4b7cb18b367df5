import { mkdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { checkEnvironment } from './commands/command-options';
import { LabError } from './errors';
import { DEFAULT_DEVICES, hasIgb } from './machine/devices';
import { parseIommu } from './machine/iommu';
import type { Machine } from './machine/qemu';

/** What a lab is to be like. */
export interface LabOptions {
  /** Presets or QEMU device strings, see deviceArguments(); default: igb, edu, nvme. */
  devices?: readonly string[];
  /** Guest memory as QEMU writes it (`512M`, `2G`); default 2G. */
  memory?: string;
  /** Virtual CPUs; default 2, or 1 on a host with a single one. */
  cpus?: number;
  /** `intel` (default), `amd`, `virtio` or `none`, see parseIommu(). */
  iommu?: string;
  /** `stock` (default), `lab`, `host` or the path of a bzImage, see resolveKernel(). */
  kernel?: string;
  /** The path of the QEMU to use, 8.0 or newer; default: see prepareLab(). */
  qemu?: string;
  /** Directory in which commands start, the same on both sides; default: this one. */
  cwd?: string;
  /** Environment of commands; default: guestEnvironment() of this process. */
  env?: Readonly<Record<string, string>>;
  /** Directory whose changes reach the host; made if missing. */
  out?: string;
  /** Files and directories that the guest sees as empty, besides those of hiddenPaths(). */
  hide?: readonly string[];
  /** Parameters added to the kernel's command line. */
  append?: string;
  /** Arguments added to QEMU's. */
  qemuArgs?: readonly string[];
  /** Sees the guest's serial console as it comes. */
  onConsole?: (text: string) => void;
  /** Sees what is being done before the guest is ready, a line at a time. */
  progress?: (line: string, stage: 'set-up' | 'boot') => void;
}

/** Options with everything decided and checked. */
export interface LabPlan {
  kernel: string;
  qemu: string | undefined;
  cwd: string;
  /** undefined: by the directory of a command. */
  env: Readonly<Record<string, string>> | undefined;
  hide: readonly string[];
  machine: Pick<Machine, 'devices' | 'iommu' | 'memory' | 'cpus' | 'append' | 'out' | 'qemuArgs'>;
  onConsole: ((text: string) => void) | undefined;
  progress: (line: string, stage: 'set-up' | 'boot') => void;
}

/**
 * Checks options and fills in the defaults; makes the `out` directory.
 *
 * @throws LabError `LAB_ARGUMENT`
 */
export function planLab(options: LabOptions): LabPlan {
  const devices = options.devices ?? DEFAULT_DEVICES;
  const memory = options.memory ?? '2G';
  checkMemory(memory, devices);
  if (options.env) checkEnvironment(options.env);
  return {
    kernel: options.kernel ?? 'stock',
    qemu: options.qemu,
    cwd: resolve(options.cwd ?? '.'),
    env: options.env,
    hide: options.hide ?? [],
    machine: {
      devices,
      iommu: parseIommu(options.iommu ?? 'intel'),
      memory,
      cpus: checkCount('cpus', options.cpus ?? Math.min(2, availableParallelism()), 1, 64),
      append: options.append,
      out: options.out === undefined ? undefined : makeDirectory(resolve(options.out)),
      qemuArgs: options.qemuArgs ?? [],
    },
    onConsole: options.onConsole,
    progress: options.progress ?? (() => {}),
  };
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
    throw new LabError('LAB_ARGUMENT', `${memory} of memory is not enough to boot a guest`, {
      hint: 'give 128M or more; a number without a unit is in MiB',
    });
  }
  // Firmware then puts the VFs' BARs above 4 GiB and QEMU drops the upper half of their addresses.
  if (bytes >= 4 * 2 ** 30 && hasIgb(devices)) {
    throw new LabError('LAB_ARGUMENT', `${memory} of memory would break the VFs of the igb`, {
      hint: 'QEMU mislays igb VF registers when the guest has 4G or more: stay below, or use other devices',
    });
  }
}

function checkCount(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new LabError('LAB_ARGUMENT', `${name} must be an integer from ${least} to ${most}`, {
    hint: `give a whole number`,
  });
}

function makeDirectory(path: string): string {
  const hint = 'give a directory that exists or can be made';
  try {
    mkdirSync(path, { recursive: true });
    if (statSync(path).isDirectory()) return path;
  } catch (cause) {
    throw new LabError('LAB_ARGUMENT', `cannot make the directory ${path}`, { cause, hint });
  }
  throw new LabError('LAB_ARGUMENT', `${path} is not a directory`, { hint });
}
