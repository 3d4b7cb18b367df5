import { mkdir, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LabError } from '../errors';
import { kernelRelease } from '../kernel/resolve';
import type { PrivateApt } from '../packages/apt';
import { firstExisting, unpackInto } from '../packages/unpack';
import { isAtLeast } from '../packages/versions';
import { stockKernelImage } from '../paths';
import { listModules } from './depmod';

/** The oldest kernel that the lab was tried on. */
export const OLDEST_KERNEL = '6.6';

/** The distributions' names for their newest generic kernel. */
const PACKAGES = ['linux-image-amd64', 'linux-image-generic'];

/** The packages a kernel consists of; their other dependencies serve its installation. */
const PARTS = /^linux-(image|modules|binary)-/;

/**
 * Unpacks the distribution's kernel, the release's own before its backports.
 *
 * @throws LabError `LAB_SETUP` if there is none that is new enough
 */
export async function fetchStockKernel(
  apt: PrivateApt,
  progress: (line: string) => void,
): Promise<void> {
  const offers = await Promise.all(
    PACKAGES.map(async (name) => ({ name, versions: await apt.versions(name) })),
  );
  const { name, versions } = offers.find((offer) => offer.versions.length > 0) ?? {
    name: PACKAGES.join(' or '),
    versions: [],
  };
  const found = versions.find(({ version }) => isAtLeast(version, OLDEST_KERNEL));
  if (found === undefined) {
    const has = versions.map(({ version }) => version).join(', ') || 'none';
    throw new LabError(
      'LAB_SETUP',
      `the distribution has no ${name} ${OLDEST_KERNEL} or newer: it has ${has}`,
    );
  }
  const { version, suite } = found;
  const target = dirname(stockKernelImage());
  progress(`unpacking the kernel ${version} from ${suite} into ${target} (about 100 MB)`);
  const closure = await apt.closure(name, suite);
  const parts = closure.filter((part) => PARTS.test(part) && part !== name);
  await unpackInto(target, async (directory) => {
    await apt.unpack(parts, directory, suite);
    return arrange(apt, directory);
  });
}

/** Brings an unpacked kernel package into the layout that resolveKernel() expects. */
async function arrange(apt: PrivateApt, directory: string): Promise<string> {
  const arranged = join(directory, 'kernel');
  const boot = await readdir(join(directory, 'boot'));
  const image = boot.find((name) => name.startsWith('vmlinuz-'));
  if (image === undefined) throw new LabError('LAB_SETUP', 'the kernel package holds no kernel');
  const modules = firstExisting(directory, ['usr/lib/modules', 'lib/modules']);
  await mkdir(join(arranged, 'lib'), { recursive: true });
  await rename(join(directory, 'boot', image), join(arranged, 'vmlinuz'));
  await rename(join(directory, modules), join(arranged, 'lib', 'modules'));
  await listModules(apt, arranged, kernelRelease(join(arranged, 'vmlinuz')), directory);
  return arranged;
}
