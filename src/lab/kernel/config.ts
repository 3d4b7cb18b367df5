import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../package-root';

/** The options of the lab kernel: a fragment of a kernel's `.config`. */
export function kernelConfigPath(): string {
  return join(packageRoot(), 'src', 'lab', 'kernel', 'kernel.config');
}

/** Tells the options apart that kernels were built with; 12 hexadecimal digits. */
export function kernelConfigHash(): string {
  return createHash('sha256').update(readFileSync(kernelConfigPath())).digest('hex').slice(0, 12);
}

/**
 * The lines of a fragment (`CONFIG_VFIO=y`) that a complete `.config` does not have: options that
 * this kernel does not know, or whose dependencies are not met. kconfig drops both in silence.
 */
export function unmetOptions(fragment: string, config: string): string[] {
  const lines = new Set(config.split('\n'));
  return fragment.split('\n').filter((line) => line.startsWith('CONFIG_') && !lines.has(line));
}
