import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from '../errors';
import { type PackageVersion, PrivateApt } from '../packages/apt';
import type { FurtherSuites } from '../packages/apt-sources';
import { compareVersions, isAtLeast } from '../packages/versions';

const PACKAGE = 'linux-source';

/** The oldest kernel with all that src/lab/kernel/kernel.config names. */
const OLDEST = '7.2';

/** A release whose own backports have stopped short of that takes its source from a later one. */
const LATER_BACKPORTS: FurtherSuites = { bookworm: ['trixie-backports'] };

/** Opens apt with the suites that a kernel's source may be in. */
export function openSourceApt(parent: string): Promise<PrivateApt> {
  return PrivateApt.open(parent, LATER_BACKPORTS);
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

/** Downloads a kernel source and returns the path of its tar file, which is below `directory`. */
export async function fetchSource(
  apt: PrivateApt,
  { suite }: PackageVersion,
  directory: string,
): Promise<string> {
  const packages = await apt.closure(PACKAGE, suite, /^linux-source-/);
  await apt.unpack(packages, suite, directory);
  // Debian has it in usr/src itself, Ubuntu one directory below.
  const files = await readdir(join(directory, 'usr', 'src'), { recursive: true });
  const tar = files.find((name) => /(^|\/)linux-source-[^/]*\.tar\.\w+$/.test(name));
  if (tar === undefined) throw new LabError('LAB_SETUP', `${PACKAGE} holds no source`);
  return join(directory, 'usr', 'src', tar);
}

/** What a build needs, besides what every Debian system has. */
const BUILD_PACKAGES = 'bc bison flex gcc kmod libc6-dev libelf-dev make xz-utils'.split(' ');

/** Installs compiler and tools, as far as they are missing. */
export async function installBuildTools(
  parent: string,
  progress: (line: string) => void,
): Promise<void> {
  const missing = await missingPackages(BUILD_PACKAGES);
  if (missing.length === 0) return;
  progress(`installing ${missing.join(', ')}`);
  // A list of its own: with suites of other releases at hand, apt would take them from there.
  await using apt = await PrivateApt.open(parent);
  await apt.install(missing);
}

async function missingPackages(names: readonly string[]): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the placeholders are dpkg's
  const query = ['-W', '-f', '${Package} ${db:Status-Status}\\n', ...names];
  // It fails if one of them is unknown, and still lists the others.
  const installed = await promisify(execFile)('dpkg-query', query).then(
    ({ stdout }) => stdout,
    (error: { stdout?: string }) => error.stdout ?? '',
  );
  const lines = new Set(installed.split('\n'));
  return names.filter((name) => !lines.has(`${name} installed`));
}
