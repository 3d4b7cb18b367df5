import { existsSync, readdirSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LabError } from '../errors';
import { lockFile } from '../lock';
import { PrivateApt } from '../packages/apt';
import { unpackInto } from '../packages/unpack';
import { cacheDirectory } from '../paths';
import { requireMachine } from '../requirements';
import { compileKernel } from './build';
import { provideBuildTools } from './build-tools';
import { type LabKernel, labKernel, labKernelsDirectory } from './cache';
import { kernelConfigHash } from './config';
import { duration } from './progress';
import { fetchSource, newestSource, openSourceApt, sourceOffers, sourceTar } from './source';
import { unpackSource } from './unpack-source';

export interface LabKernelOptions {
  /** Sees what is being done, a line at a time. */
  progress(line: string): void;
  /** Ends the build; the next one goes on from there. */
  signal?: AbortSignal;
}

/**
 * Builds the lab kernel from the newest source package of the distribution, unless that has been
 * built already: a kernel with what no distribution's has (iommufd, VFIO character devices and
 * no-IOMMU mode, mediated devices, a mock IOMMU). Takes some minutes and 2 GB, of which 30 MB remain.
 * Tools that are missing are unpacked beside it; nothing is installed. A build that was interrupted,
 * however that came about, is taken up where it was; one that failed is removed.
 *
 * @throws LabError `LAB_SETUP`; the signal's reason if that ended it
 */
export async function buildLabKernel(options: LabKernelOptions): Promise<LabKernel> {
  const { progress, signal } = options;
  requireMachine();
  if (!PrivateApt.isAvailable()) throw noApt();
  using lock = await lockFile(
    `${labKernelsDirectory()}.lock`,
    () => progress('waiting for another build to end'),
    signal,
  );
  const start = Date.now();
  const interrupted = interruptedBuild();
  if (interrupted) progress(`going on with the build of the lab kernel ${interrupted}`);
  const version = interrupted ?? (await fetchUnlessBuilt(options));
  const kernel = labKernel(version);
  if (existsSync(kernel.image)) return kernel;
  const directory = buildDirectory(version);
  signal?.throwIfAborted();
  const tools = await provideBuildTools(join(directory, 'tools'), progress);
  const context = { lock: lock.descriptor, signal, tools, progress };
  const source = join(directory, 'source');
  if (!existsSync(source)) {
    progress('unpacking the source');
    await unpackSource({ ...context, tar: await sourceTar(directory), target: source });
  }
  const result = await compileKernel({ ...context, directory }).catch(async (error) => {
    // To go on with what has failed would only fail again.
    if (error instanceof LabError) await removeTree(buildsDirectory());
    throw error;
  });
  await mkdir(labKernelsDirectory(), { recursive: true });
  await rename(result, dirname(kernel.image));
  await removeTree(buildsDirectory());
  progress(`built the lab kernel ${version} in ${duration(Date.now() - start)}`);
  return kernel;
}

/** Where kernels are built, a directory for each version and set of options. */
function buildsDirectory(): string {
  return join(cacheDirectory(), 'tmp', 'lab-kernel');
}

function buildDirectory(version: string): string {
  return join(buildsDirectory(), `${version}-${kernelConfigHash()}`);
}

/** The version whose source an interrupted build has, with these options. */
function interruptedBuild(): string | undefined {
  const suffix = `-${kernelConfigHash()}`;
  const names = existsSync(buildsDirectory()) ? readdirSync(buildsDirectory()) : [];
  return names.find((name) => name.endsWith(suffix))?.slice(0, -suffix.length);
}

/** Downloads the newest source, unless a kernel has been built from it. */
async function fetchUnlessBuilt({ progress, signal }: LabKernelOptions): Promise<string> {
  // Builds with other options, or that had no source yet: nobody can go on with them.
  await removeTree(buildsDirectory());
  progress('reading the package lists of the distribution');
  await using apt = await openSourceApt(join(cacheDirectory(), 'tmp'));
  const { version, suite } = newestSource(await sourceOffers(apt));
  if (existsSync(labKernel(version).image)) return version;
  signal?.throwIfAborted();
  progress(`downloading linux-source ${version} from ${suite} (about 170 MB)`);
  await mkdir(buildsDirectory(), { recursive: true });
  await unpackInto(buildDirectory(version), async (directory) => {
    await fetchSource(apt, suite, directory);
    return directory;
  });
  return version;
}

function noApt(): LabError {
  return new LabError('LAB_SETUP', 'the lab kernel is built from a source package of Debian', {
    hint:
      'there is no apt here: build a kernel with the options in src/lab/kernel/kernel.config of this ' +
      'package, and use --kernel PATH',
  });
}

/** A compiler that is just being ended may still add a file. */
async function removeTree(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
}
