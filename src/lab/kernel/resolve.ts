import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { LabError } from '../errors';
import { stockKernelImage } from '../paths';
import { findLabKernel, type LabKernel } from './cache';

/** A kernel the lab can boot, wherever it came from. */
export interface KernelSource {
  /** For messages. */
  name: string;
  /** A bzImage. */
  image: string;
  /** The parent of `<release>/`, to be the guest's /lib/modules; absent if all is built in. */
  modules: { directory: string; release: string } | undefined;
}

/**
 * The kernel that `--kernel` names: `stock` (the distribution's, unpacked by the set-up), `lab`
 * (see buildLabKernel()), `host` (the one that this machine runs) or the path of a bzImage. Modules
 * of the latter are taken from `lib/modules/<release>` beside it, which is where
 * `make modules_install INSTALL_MOD_PATH=` puts them; they must have been through depmod.
 *
 * @throws LabError `LAB_ARGUMENT` if there is no kernel there, `LAB_SETUP` if the lab kernel has
 *   not been built
 */
export function resolveKernel(name: string): KernelSource {
  switch (name) {
    case 'stock':
      return kernelAt(name, stockKernelImage());
    case 'lab':
      return kernelAt(name, builtLabKernel().image);
    case 'host':
      return hostKernel(release(), '/');
    default:
      return kernelAt(name, resolve(name));
  }
}

/**
 * An installed kernel, with its modules.
 *
 * @param root the system it is installed on; `/` but in tests
 */
export function hostKernel(release: string, root: string): KernelSource {
  const modules = join(root, 'lib', 'modules');
  const candidates = [join(root, 'boot', `vmlinuz-${release}`), join(modules, release, 'vmlinuz')];
  const image = candidates.find((path) => existsSync(path));
  if (image === undefined) {
    throw new LabError('LAB_ARGUMENT', `the kernel ${release} of this machine has no image here`, {
      hint:
        `looked for ${candidates.join(' and ')}: the machine may be a container, or a VM whose ` +
        "kernel lies outside; '--kernel stock' is always there",
    });
  }
  // The file may have been replaced by an update since.
  const found = kernelRelease(image);
  if (found !== release) {
    throw new LabError('LAB_ARGUMENT', `${image} is the kernel ${found}, not ${release}`);
  }
  return { name: 'host', image, modules: modulesIn(modules, release) };
}

function builtLabKernel(): LabKernel {
  const kernel = findLabKernel();
  if (kernel !== undefined) return kernel;
  throw new LabError('LAB_SETUP', 'the lab kernel has not been built', {
    hint: 'run `npx vfio lab kernel` once; it says how many minutes it takes',
  });
}

function kernelAt(name: string, image: string): KernelSource {
  const directory = join(dirname(image), 'lib', 'modules');
  return { name, image, modules: modulesIn(directory, kernelRelease(image)) };
}

function modulesIn(directory: string, release: string): KernelSource['modules'] {
  return existsSync(join(directory, release)) ? { directory, release } : undefined;
}

/**
 * The release (`uname -r`) of a bzImage, from its set-up header
 * (Documentation/arch/x86/boot.rst: `HdrS` at 0x202, `kernel_version` at 0x20e).
 *
 * @throws LabError `LAB_ARGUMENT` if the file is no bzImage
 */
export function kernelRelease(image: string): string {
  const head = readHead(image, 0x8000);
  if (head.length < 0x210 || head.toString('latin1', 0x202, 0x206) !== 'HdrS') {
    throw new LabError('LAB_ARGUMENT', `${image} is not a bzImage`);
  }
  const start = head.readUInt16LE(0x20e) + 0x200;
  const text = head.toString('latin1', start, head.indexOf(0, start));
  const release = text.split(' ')[0];
  if (!release) throw new LabError('LAB_ARGUMENT', `${image} does not tell its kernel release`);
  return release;
}

function readHead(path: string, size: number): Buffer {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (cause) {
    throw new LabError('LAB_ARGUMENT', `cannot read the kernel ${path}`, {
      cause,
      hint: "--kernel takes 'stock', 'lab', 'host' or the path of a bzImage",
    });
  }
  try {
    const buffer = Buffer.alloc(size);
    return buffer.subarray(0, readSync(descriptor, buffer, 0, size, 0));
  } finally {
    closeSync(descriptor);
  }
}
