import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LabError } from '../errors';
import { lockFile } from '../lock';
import { PrivateApt } from '../packages/apt';
import { cacheDirectory } from '../paths';
import { requireMachine } from '../requirements';
import { compileKernel, duration } from './build';
import { type LabKernel, labKernel, labKernelsDirectory } from './cache';
import {
  fetchSource,
  installBuildTools,
  newestSource,
  openSourceApt,
  sourceOffers,
} from './source';

export interface LabKernelOptions {
  /** Sees what is being done, a line at a time. */
  progress(line: string): void;
  /** Ends the build and removes what there is of it. */
  signal?: AbortSignal;
}

/**
 * Builds the lab kernel from the newest source package of the distribution, unless that has been
 * built already: a kernel with what no distribution's has (iommufd, VFIO character devices and
 * no-IOMMU mode, mediated devices, a mock IOMMU). Takes about ten minutes and 3 GB, of which 30 MB
 * remain. Compiler and tools are installed if missing, which needs root, hence maybe sudo.
 *
 * @throws LabError `LAB_SETUP`; the signal's reason if that ended it
 */
export async function buildLabKernel(options: LabKernelOptions): Promise<LabKernel> {
  const { progress, signal } = options;
  requireMachine();
  if (!PrivateApt.isAvailable()) {
    throw new LabError('LAB_SETUP', 'the lab kernel is built from a source package of Debian', {
      hint:
        'there is no apt here: build a kernel with the options in src/lab/kernel/kernel.config of this ' +
        'package, and use --kernel PATH',
    });
  }
  using lock = await lockFile(
    `${labKernelsDirectory()}.lock`,
    () => progress('waiting for another build to end'),
    signal,
  );
  const start = Date.now();
  // Only one build at a time gets here, so what is there is of one that was killed.
  const directory = join(cacheDirectory(), 'tmp', 'lab-kernel');
  await removeTree(directory);
  await mkdir(directory, { recursive: true });
  try {
    progress('reading the package lists of the distribution');
    const { kernel, tar } = await fetchUnlessBuilt(directory, progress);
    if (tar === undefined) return kernel;
    signal?.throwIfAborted();
    await installBuildTools(directory, progress);
    const context = { lock: lock.descriptor, signal };
    const result = await compileKernel({ ...context, directory, tar, progress });
    await mkdir(labKernelsDirectory(), { recursive: true });
    await rename(result, dirname(kernel.image));
    progress(`built the lab kernel ${kernel.version} in ${duration(Date.now() - start)}`);
    return kernel;
  } finally {
    await removeTree(directory);
  }
}

async function fetchUnlessBuilt(
  directory: string,
  progress: (line: string) => void,
): Promise<{ kernel: LabKernel; tar?: string }> {
  await using apt = await openSourceApt(directory);
  const source = newestSource(await sourceOffers(apt));
  const kernel = labKernel(source.version);
  if (existsSync(kernel.image)) return { kernel };
  progress(`downloading linux-source ${source.version} from ${source.suite} (about 170 MB)`);
  return { kernel, tar: await fetchSource(apt, source, join(directory, 'package')) };
}

/** A compiler that is just being ended may still add a file. */
async function removeTree(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
}
