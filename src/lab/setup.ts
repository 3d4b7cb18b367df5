import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './errors';
import { type KernelSource, resolveKernel } from './kernel/resolve';
import { lockFile } from './lock';
import { PrivateApt } from './packages/apt';
import { LATER_SUITES } from './packages/apt-sources';
import { busyboxPath, cacheDirectory, stockKernelImage } from './paths';
import { requireMachine } from './requirements';
import { fetchBusybox } from './tools/busybox';
import {
  fetchQemu,
  installedQemu,
  OLDEST_QEMU,
  QEMU_PROGRAM,
  type Qemu,
  qemuAt,
  unpackedQemu,
} from './tools/qemu';
import { fetchStockKernel, OLDEST_KERNEL } from './tools/stock-kernel';

/** What a lab is started with. */
export interface LabTools {
  qemu: Qemu;
  busybox: string;
  kernel: KernelSource;
}

export interface SetupOptions {
  /** The kernel that is wanted, see resolveKernel(); only `stock` is fetched. */
  kernel: string;
  /** The path of a QEMU to use; by default one is fetched. */
  qemu?: string | undefined;
  /** Sees each step before it is taken; nothing if all is there already. */
  progress(line: string): void;
}

/**
 * Fetches what is missing of QEMU, kernel and busybox from the distribution's archive, and unpacks
 * it into the cache: nothing is installed, root is not needed. Idempotent, and quick when there is
 * nothing to do. Where no QEMU is to be had, the machine's own will do.
 *
 * @throws LabError `LAB_SETUP`, saying what to provide by hand; `LAB_ARGUMENT` if what was asked for
 *   is not there
 */
export async function prepareLab(options: SetupOptions): Promise<LabTools> {
  requireMachine();
  const wantsStock = options.kernel === 'stock';
  // What the user names is worth knowing to be wrong before anything is fetched.
  if (!wantsStock) resolveKernel(options.kernel);
  const named = options.qemu === undefined ? undefined : await qemuAt(options.qemu);
  const missing = {
    qemu: (named ?? unpackedQemu()) === undefined,
    busybox: !existsSync(busyboxPath()),
    kernel: wantsStock && !existsSync(stockKernelImage()),
  };
  if (missing.qemu || missing.busybox || missing.kernel) await fetchMissing(missing, options);
  const qemu = named ?? unpackedQemu() ?? (await installedQemu());
  if (qemu === undefined) throw byHand();
  return { qemu, busybox: busyboxPath(), kernel: resolveKernel(options.kernel) };
}

interface Missing {
  qemu: boolean;
  busybox: boolean;
  kernel: boolean;
}

async function fetchMissing(missing: Missing, { progress }: SetupOptions): Promise<void> {
  if (!PrivateApt.isAvailable()) {
    const onlyQemu = !missing.busybox && !missing.kernel;
    if (onlyQemu && (await installedQemu())) return;
    throw byHand();
  }
  using _lock = await lockFile(join(cacheDirectory(), 'setup.lock'), () =>
    progress('waiting for another set-up to end'),
  );
  progress('reading the package lists of the distribution');
  await using apt = await PrivateApt.open(join(cacheDirectory(), 'tmp'), LATER_SUITES);
  if (missing.qemu && unpackedQemu() === undefined) await fetchQemuOrUseOwn(apt, progress);
  if (missing.busybox && !existsSync(busyboxPath())) await fetchBusybox(apt, progress);
  if (missing.kernel && !existsSync(stockKernelImage())) await fetchStockKernel(apt, progress);
}

async function fetchQemuOrUseOwn(apt: PrivateApt, progress: (line: string) => void): Promise<void> {
  try {
    await fetchQemu(apt, progress);
  } catch (error) {
    const own = await installedQemu();
    if (own === undefined || !(error instanceof LabError)) throw error;
    progress(`${error.message}; using the machine's own QEMU ${own.version}`);
  }
}

function byHand(): LabError {
  return new LabError('LAB_SETUP', 'the lab fetches what it needs with apt, which is not here', {
    hint: [
      'provide:',
      `- QEMU ${OLDEST_QEMU} or newer: ${QEMU_PROGRAM} in the PATH, or --qemu PATH`,
      `- a statically linked busybox: ${busyboxPath()}`,
      `- a kernel, ${OLDEST_KERNEL} or newer: ${stockKernelImage()}, with what depmod made of its modules in`,
      '  lib/modules beside it; or --kernel PATH, or --kernel host',
    ].join('\n'),
  });
}
