import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { compareVersions } from '../packages/versions';
import { cacheDirectory } from '../paths';
import { kernelConfigHash } from './config';

/** A lab kernel that has been built, see prepareLabKernel(). */
export interface LabKernel {
  /** Version of the source package, such as `7.2.12-1~bpo13+1`. */
  version: string;
  /** The bzImage; its modules are in `lib/modules/<release>` beside it. */
  image: string;
  /** The headers it has for user space: an include directory with `linux/vfio.h` in it. */
  headers: string;
}

/** The directory of all lab kernels, one `<version>-<hash of the options>` each. */
export function labKernelsDirectory(): string {
  return join(cacheDirectory(), 'kernels', 'lab');
}

/** The lab kernel with the options of this package, whether or not it exists. */
export function labKernel(version: string): LabKernel {
  const directory = join(labKernelsDirectory(), `${version}-${kernelConfigHash()}`);
  return { version, image: join(directory, 'vmlinuz'), headers: join(directory, 'headers') };
}

/** The newest lab kernel with the options of this package; undefined if none has been built. */
export function findLabKernel(): LabKernel | undefined {
  const suffix = `-${kernelConfigHash()}`;
  const names = existsSync(labKernelsDirectory()) ? readdirSync(labKernelsDirectory()) : [];
  const versions = names
    .filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length))
    .sort(compareVersions);
  const newest = versions.at(-1);
  return newest === undefined ? undefined : labKernel(newest);
}
