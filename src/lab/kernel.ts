import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { LabError } from './errors';
import { stockKernelImage } from './paths';

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
 * The kernel that `--kernel` names: `stock` (the distribution's, unpacked by the set-up) or the
 * path of a bzImage. Modules are taken from `lib/modules/<release>` beside it, which is where
 * `make modules_install INSTALL_MOD_PATH=` puts them; they must have been through depmod.
 *
 * @throws LabError `LAB_ARGUMENT` if there is no kernel there
 */
export function resolveKernel(name: string): KernelSource {
  return name === 'stock' ? kernelAt('stock', stockKernelImage()) : kernelAt(name, resolve(name));
}

function kernelAt(name: string, image: string): KernelSource {
  const release = kernelRelease(image);
  const directory = join(dirname(image), 'lib', 'modules');
  const modules = existsSync(join(directory, release)) ? { directory, release } : undefined;
  return { name, image, modules };
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
      hint: "--kernel takes 'stock' or the path of a bzImage",
    });
  }
  try {
    const buffer = Buffer.alloc(size);
    return buffer.subarray(0, readSync(descriptor, buffer, 0, size, 0));
  } finally {
    closeSync(descriptor);
  }
}
