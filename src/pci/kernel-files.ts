/** Files that tell of the running kernel: input, read with limits. */
import { join } from 'node:path';
import { BOOT, PROC } from './paths';
import { readStart } from './sysfs';

const MAX_FILE = 4 << 20;

/** Its start, up to `limit` bytes; undefined where it is not there, went while it was read, or is not ours to read. */
export function fileText(path: string, limit = MAX_FILE): string | undefined {
  try {
    return readStart(path, limit).toString('latin1').trimEnd();
  } catch {
    return undefined;
  }
}

/** CONFIG_IKCONFIG_PROC. */
function ownConfig(file: string): string | undefined {
  try {
    // Loaded only where it is needed: few programs ask.
    const { gunzipSync } = require('node:zlib') as typeof import('node:zlib');
    const zipped = readStart(file, MAX_FILE);
    return gunzipSync(zipped, { maxOutputLength: MAX_FILE }).toString('latin1');
  } catch {
    return undefined;
  }
}

export interface KernelOption {
  /** `y`, `m`; undefined where it is off. */
  readonly value: string | undefined;
  readonly file: string;
}

/** A CONFIG_ option; undefined where neither the kernel nor the distribution tells. */
export function kernelOption(name: string): KernelOption | undefined {
  const release = fileText(join(PROC, 'sys/kernel/osrelease')) ?? '';
  const installed = join(BOOT, `config-${release}`);
  const own = join(PROC, 'config.gz');
  const text = ownConfig(own);
  const [file, config] =
    text === undefined && /^[\w.+~-]+$/.test(release)
      ? [installed, fileText(installed)]
      : [own, text];
  if (config === undefined) return undefined;
  return { value: new RegExp(`^${name}=(.)`, 'm').exec(config)?.[1], file };
}

/** `pcie_acs_override=` takes ports and functions for isolated that have no ACS (not in Linus's tree). */
export const acsOverride = () => bootParameter(/^pcie_acs_override=/);

/** The first of these on the kernel command line. */
export function bootParameter(pattern: RegExp): string | undefined {
  const words = (fileText(join(PROC, 'cmdline')) ?? '').split(/\s+/);
  return words.find((word) => pattern.test(word));
}
