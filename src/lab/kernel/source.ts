import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LabError } from '../errors';
import { type PackageVersion, PrivateApt } from '../packages/apt';
import { LATER_SUITES } from '../packages/apt-sources';
import { compareVersions, isAtLeast } from '../packages/versions';

const PACKAGE = 'linux-source';

/** The oldest kernel with all that src/lab/kernel/kernel.config names. */
const OLDEST = '7.2';

/** Opens apt with the suites that a kernel's source may be in. */
export function openSourceApt(parent: string): Promise<PrivateApt> {
  return PrivateApt.open(parent, LATER_SUITES);
}

/**
 * The newest kernel source on offer.
 *
 * @throws LabError `LAB_SETUP` if there is none that is new enough
 */
export function newestSource(offers: readonly PackageVersion[]): PackageVersion {
  const newest = [...offers].sort((a, b) => compareVersions(a.version, b.version)).at(-1);
  if (newest !== undefined && isAtLeast(newest.version, OLDEST)) return newest;
  throw new LabError(
    'LAB_SETUP',
    `the lab kernel is built from ${PACKAGE} ${OLDEST} or newer, of which the distribution has ` +
      `${newest?.version ?? 'none'}`,
    { hint: "a bzImage of one's own will do: use --kernel PATH" },
  );
}

/** All versions on offer. */
export function sourceOffers(apt: PrivateApt): Promise<PackageVersion[]> {
  return apt.versions(PACKAGE);
}

/** Downloads the package of a kernel's source, and unpacks that into `directory`. */
export async function fetchSource(
  apt: PrivateApt,
  suite: string,
  directory: string,
): Promise<void> {
  const closure = await apt.closure(PACKAGE, suite);
  const packages = closure.filter((name) => name.startsWith('linux-source-'));
  await apt.unpack(packages, directory, suite);
  await sourceTar(directory);
}

/**
 * The tar file in an unpacked package.
 *
 * @throws LabError `LAB_SETUP` if there is none
 */
export async function sourceTar(directory: string): Promise<string> {
  // Debian has it in usr/src itself, Ubuntu one directory below.
  const files = await readdir(join(directory, 'usr', 'src'), { recursive: true });
  const tar = files.find((name) => /(^|\/)linux-source-[^/]*\.tar\.\w+$/.test(name));
  if (tar === undefined) throw new LabError('LAB_SETUP', `${PACKAGE} holds no source`);
  return join(directory, 'usr', 'src', tar);
}
