import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from './errors';
import { type KernelSource, kernelRelease, resolveKernel } from './kernel/resolve';
import { type PackageVersion, PrivateApt } from './packages/apt';
import { isAtLeast } from './packages/versions';
import { busyboxPath, cacheDirectory, stockKernelImage } from './paths';
import { requireMachine } from './requirements';

/** What a lab is started with. */
export interface LabTools {
  /** The QEMU program. */
  qemu: string;
  busybox: string;
  kernel: KernelSource;
}

export interface SetupOptions {
  /** The kernel that is wanted, see resolveKernel(); only `stock` is fetched. */
  kernel: string;
  /** Sees each step before it is taken; nothing if all is there already. */
  progress(line: string): void;
}

const QEMU = 'qemu-system-x86_64';

/** Oldest versions that will do: the first QEMU with an igb; kernels that the lab was tried on. */
const MINIMUM = { qemu: '8.0', kernel: '6.6' } as const;

/** The distributions' names for their newest generic kernel. */
const KERNEL_PACKAGES = ['linux-image-amd64', 'linux-image-generic'];

/** The packages a kernel consists of; their other dependencies serve its installation. */
const KERNEL_PARTS = /^linux-(image|modules|binary)-/;

/**
 * Fetches what is missing: QEMU and kmod are installed from the distribution (which needs root,
 * hence maybe sudo), busybox and the kernel are only unpacked into the cache. Idempotent, and
 * quick when there is nothing to do.
 *
 * @throws LabError `LAB_SETUP`, saying what to provide by hand
 */
export async function prepareLab(options: SetupOptions): Promise<LabTools> {
  requireMachine();
  const wantsStock = options.kernel === 'stock';
  // A kernel that is not there is worth knowing before anything is installed.
  if (!wantsStock) resolveKernel(options.kernel);
  const missing = {
    packages: await missingPackages(),
    busybox: !existsSync(busyboxPath()),
    kernel: wantsStock && !existsSync(stockKernelImage()),
  };
  if (missing.packages.length > 0 || missing.busybox || missing.kernel) {
    if (!PrivateApt.isAvailable()) throw byHand();
    options.progress('reading the package lists of the distribution');
    await using apt = await PrivateApt.open(join(cacheDirectory(), 'tmp'));
    if (missing.packages.length > 0) await installPackages(apt, missing.packages, options);
    if (missing.busybox) await fetchBusybox(apt, options);
    if (missing.kernel) await fetchKernel(apt, options);
  }
  return { qemu: QEMU, busybox: busyboxPath(), kernel: resolveKernel(options.kernel) };
}

async function missingPackages(): Promise<string[]> {
  const [qemu, depmod] = await Promise.all([
    output(QEMU, ['--version']),
    output('depmod', ['--version']),
  ]);
  const qemuVersion = /version (\S+)/.exec(qemu ?? '')?.[1];
  return [
    ...(qemuVersion && isAtLeast(qemuVersion, MINIMUM.qemu) ? [] : ['qemu-system-x86']),
    ...(depmod === undefined ? ['kmod'] : []),
  ];
}

async function installPackages(
  apt: PrivateApt,
  names: readonly string[],
  { progress }: SetupOptions,
): Promise<void> {
  for (const name of names) {
    const least = name === 'qemu-system-x86' ? MINIMUM.qemu : '0';
    const { version, suite } = newEnough(name, await apt.versions(name), least);
    progress(`installing ${name} ${version} from ${suite}`);
    await apt.install([name], suite);
  }
}

async function fetchBusybox(apt: PrivateApt, { progress }: SetupOptions): Promise<void> {
  const name = 'busybox-static';
  const { version, suite } = newEnough(name, await apt.versions(name), '0');
  progress(`unpacking ${name} ${version} into ${cacheDirectory()}`);
  await unpackInto(busyboxPath(), async (directory) => {
    await apt.unpack([name], suite, directory);
    return join(directory, await firstExisting(directory, ['bin/busybox', 'usr/bin/busybox']));
  });
}

async function fetchKernel(apt: PrivateApt, { progress }: SetupOptions): Promise<void> {
  const offers = await Promise.all(
    KERNEL_PACKAGES.map(async (name) => ({ name, versions: await apt.versions(name) })),
  );
  const offer = offers.find(({ versions }) => versions.length > 0);
  const { name, versions } = offer ?? { name: KERNEL_PACKAGES.join(' or '), versions: [] };
  const { version, suite } = newEnough(name, versions, MINIMUM.kernel);
  const parts = (await apt.closure(name, suite, KERNEL_PARTS)).filter((part) => part !== name);
  const target = dirname(stockKernelImage());
  progress(`unpacking the kernel ${version} from ${suite} into ${target} (about 100 MB)`);
  await unpackInto(target, async (directory) => {
    await apt.unpack(parts, suite, directory);
    return arrangeKernel(directory);
  });
}

/** Brings an unpacked kernel package into the layout that resolveKernel() expects. */
async function arrangeKernel(directory: string): Promise<string> {
  const arranged = join(directory, 'kernel');
  const boot = await readdir(join(directory, 'boot'));
  const image = boot.find((name) => name.startsWith('vmlinuz-'));
  if (image === undefined) throw new LabError('LAB_SETUP', 'the kernel package holds no kernel');
  const modules = await firstExisting(directory, ['usr/lib/modules', 'lib/modules']);
  await mkdir(join(arranged, 'lib'), { recursive: true });
  await rename(join(directory, 'boot', image), join(arranged, 'vmlinuz'));
  await rename(join(directory, modules), join(arranged, 'lib', 'modules'));
  // The package leaves this to its installation scripts.
  await promisify(execFile)('depmod', ['-b', arranged, kernelRelease(join(arranged, 'vmlinuz'))], {
    env: withSystemPath(),
  });
  return arranged;
}

/** Makes `target` appear complete or not at all, also when two set-ups race. */
async function unpackInto(
  target: string,
  unpack: (directory: string) => Promise<string>,
): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const directory = await mkdtemp(join(cacheDirectory(), 'tmp', 'unpack-'));
  try {
    const result = await unpack(directory);
    await rename(result, target).catch((error) => {
      if (!existsSync(target)) throw error;
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function firstExisting(directory: string, candidates: readonly string[]): Promise<string> {
  const found = candidates.find((candidate) => existsSync(join(directory, candidate)));
  if (found === undefined) {
    throw new LabError('LAB_SETUP', `the package holds none of ${candidates.join(', ')}`);
  }
  return found;
}

/** The first version that is at least `least`, the release's own before its backports. */
function newEnough(
  name: string,
  versions: readonly PackageVersion[],
  least: string,
): PackageVersion {
  const found = versions.find(({ version }) => isAtLeast(version, least));
  if (found !== undefined) return found;
  const offered = versions.map(({ version }) => version).join(', ') || 'nothing';
  throw new LabError('LAB_SETUP', `the distribution has no ${name} ${least} or newer`, {
    hint: `it offers ${offered}. ${byHand().hint}`,
  });
}

function byHand(): LabError {
  return new LabError('LAB_SETUP', 'the lab cannot get what it needs by itself here', {
    hint:
      `provide ${QEMU} ${MINIMUM.qemu} or newer and depmod (kmod) in the PATH, a statically ` +
      `linked busybox at ${busyboxPath()}, and a kernel at ${stockKernelImage()} with its modules ` +
      `in lib/modules beside it, through depmod (or use --kernel PATH)`,
  });
}

async function output(program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await promisify(execFile)(program, args, { env: withSystemPath() })).stdout;
  } catch {
    return undefined;
  }
}

/** depmod is in a directory that a user's PATH often lacks. */
function withSystemPath(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
}
