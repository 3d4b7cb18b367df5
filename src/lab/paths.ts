import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** Everything the lab keeps between runs: `$XDG_CACHE_HOME/vfio`, by default `~/.cache/vfio`. */
export function cacheDirectory(): string {
  // The XDG base directory specification says to ignore a relative one.
  const base = process.env.XDG_CACHE_HOME;
  return join(base && isAbsolute(base) ? base : join(homedir(), '.cache'), 'vfio');
}

/** A statically linked busybox, the only program the initramfs contains. */
export function busyboxPath(): string {
  return join(cacheDirectory(), 'busybox');
}

/** The distribution's kernel, with its modules in `lib/modules/<release>` beside it. */
export function stockKernelImage(): string {
  return join(cacheDirectory(), 'kernels', 'stock', 'vmlinuz');
}
