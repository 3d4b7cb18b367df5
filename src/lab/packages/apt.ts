import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from '../errors';
import {
  type AptSource,
  type Distribution,
  distributionSources,
  type FurtherSuites,
  formatSources,
  parseOsRelease,
  parseSources,
} from './apt-sources';

/** A version of a package and the suite that has it. */
export interface PackageVersion {
  version: string;
  suite: string;
}

/**
 * apt over the machine's own mirror, with sources and package lists of its own in a directory that
 * is removed afterwards: the machine's sources, lists and pins stay as they are.
 */
export class PrivateApt implements AsyncDisposable {
  readonly #directory: string;
  readonly #config: string;
  /** The suites of other releases that were added. */
  readonly #further: readonly string[];

  private constructor(directory: string, further: readonly string[]) {
    this.#directory = directory;
    this.#config = join(directory, 'apt.conf');
    this.#further = further;
  }

  /** Whether this system has apt at all. */
  static isAvailable(): boolean {
    return existsSync('/usr/bin/apt-get') && existsSync('/usr/bin/dpkg-deb');
  }

  /**
   * Fetches the package lists into a new directory below `parent`.
   *
   * @param further suites of other releases
   * @throws LabError `LAB_SETUP` if the machine's sources lack the distribution's archive, or it
   *   cannot be reached
   */
  static async open(parent: string, further: FurtherSuites = {}): Promise<PrivateApt> {
    const distribution = parseOsRelease(readFileSync('/etc/os-release', 'utf8'));
    const sources = distributionSources(readMachineSources(), distribution, further);
    if (sources.length === 0) throw noArchive(distribution);
    await mkdir(parent, { recursive: true });
    const added = distribution.codenames.flatMap((name) => further[name] ?? []);
    const apt = new PrivateApt(await mkdtemp(join(parent, 'apt-')), added);
    try {
      await apt.#configure(sources);
      await apt.#run('apt-get', ['update']);
      return apt;
    } catch (error) {
      await apt[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The versions on offer: the release's own, those of its backports, those of other releases. */
  async versions(name: string): Promise<PackageVersion[]> {
    const table = await this.#run('apt-cache', ['madison', name]);
    return parseMadison(table, name, this.#further);
  }

  /** All packages that a package needs on a system that has none yet, itself included. */
  async closure(name: string, suite: string): Promise<string[]> {
    const status = join(this.#directory, 'no-packages');
    await writeFile(status, '');
    const withoutPackages = [`Dir::State::status=${status}`, `Dir::Cache::pkgcache=${status}.bin`];
    const options = withoutPackages.flatMap((option) => ['-o', option]);
    return this.#simulate([...options, '-t', suite, 'install', name]);
  }

  /** What would have to be installed on this machine to have these packages. */
  additions(names: readonly string[]): Promise<string[]> {
    return this.#simulate(['install', ...names]);
  }

  /**
   * Downloads packages and unpacks them, one over the other, into `directory`.
   *
   * @param suite where to take them from; by default the release, with its updates
   */
  async unpack(names: readonly string[], directory: string, suite?: string): Promise<void> {
    await mergeUsr(directory);
    const packages = await mkdtemp(join(this.#directory, 'packages-'));
    const target = suite === undefined ? [] : ['-t', suite];
    await this.#run('apt-get', ['download', ...target, ...names], packages);
    for (const file of readdirSync(packages)) {
      const script = ['-o', 'pipefail', '-c', UNPACK, 'unpack', join(packages, file), directory];
      await this.#run('bash', script);
    }
    await rm(packages, { recursive: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #configure(sources: readonly AptSource[]): Promise<void> {
    const parts = join(this.#directory, 'sources.list.d');
    const lists = join(this.#directory, 'lists');
    await mkdir(parts);
    await mkdir(join(lists, 'partial'), { recursive: true });
    await writeFile(join(parts, 'vfio.sources'), formatSources(sources));
    await writeFile(this.#config, configuration(parts, lists));
  }

  async #simulate(args: readonly string[]): Promise<string[]> {
    const plan = await this.#run('apt-get', ['-s', '--no-install-recommends', ...args]);
    return parseInstallations(plan);
  }

  async #run(program: string, args: readonly string[], cwd = this.#directory): Promise<string> {
    // Of the two ways to give apt a file of settings, this one comes after the machine's own.
    const settings = program.startsWith('apt-') ? ['-c', this.#config] : [];
    try {
      const { stdout } = await promisify(execFile)(program, [...settings, ...args], {
        cwd,
        env: { ...process.env, LC_ALL: 'C' },
        maxBuffer: 64 << 20,
      });
      return stdout;
    } catch (cause) {
      throw aptFailure(`${program} ${args.join(' ')}`, cause);
    }
  }
}

/** Unlike `dpkg-deb -x`, this does not put a directory in place of a link to one. */
const UNPACK = 'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"';

/**
 * Reads what `apt-cache madison` prints: `package | version | uri suite/component ...`.
 *
 * @param further suites that come last
 */
export function parseMadison(
  text: string,
  name: string,
  further: readonly string[] = [],
): PackageVersion[] {
  const versions = text.split('\n').flatMap((line) => {
    const [found, version, source] = line.split('|').map((column) => column.trim());
    const suite = source?.split(' ')[1]?.split('/')[0];
    return found === name && version && suite ? [{ version, suite }] : [];
  });
  const rank = ({ suite }: PackageVersion) =>
    further.includes(suite) ? 2 : Number(suite.endsWith('-backports'));
  return versions.sort((a, b) => rank(a) - rank(b));
}

/** Reads which packages `apt-get -s install` would install: `Inst NAME [OLD] (NEW ...)`. */
export function parseInstallations(text: string): string[] {
  return [...text.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name ?? '');
}

/** Packages of all ages agree on where files are once the old directories lead to the new ones. */
async function mergeUsr(directory: string): Promise<void> {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(join(directory, 'usr', name), { recursive: true });
    if (!existsSync(join(directory, name))) await symlink(`usr/${name}`, join(directory, name));
  }
}

function configuration(parts: string, lists: string): string {
  return [
    `Dir::Etc::sourcelist "/dev/null";`,
    `Dir::Etc::sourceparts "${parts}";`,
    `Dir::State::lists "${lists}";`,
    // The caches beside the machine's lists do not belong to these.
    `Dir::Cache::pkgcache "${join(lists, '..', 'pkgcache.bin')}";`,
    `Dir::Cache::srcpkgcache "${join(lists, '..', 'srcpkgcache.bin')}";`,
    // apt's own user cannot write to a directory below somebody's home.
    'APT::Sandbox::User "root";',
    'Acquire::Languages "none";',
    '#clear APT::Update::Post-Invoke;',
    '#clear APT::Update::Post-Invoke-Success;',
    '',
  ].join('\n');
}

function readMachineSources(): AptSource[] {
  const directory = '/etc/apt/sources.list.d';
  const parts = existsSync(directory)
    ? readdirSync(directory)
        .filter((name) => /\.(list|sources)$/.test(name))
        .map((name) => join(directory, name))
    : [];
  return ['/etc/apt/sources.list', ...parts]
    .filter((path) => existsSync(path))
    .flatMap((path) => parseSources(path, readFileSync(path, 'utf8')));
}

function noArchive(distribution: Distribution): LabError {
  return new LabError(
    'LAB_SETUP',
    `the apt sources of this machine have no archive of ${distribution.name}`,
    { hint: `looked in /etc/apt for the suite ${distribution.codenames.join(' or ')}` },
  );
}

function aptFailure(command: string, cause: unknown): LabError {
  const stderr = cause instanceof Error && 'stderr' in cause ? String(cause.stderr) : '';
  const said = stderr.trim().split('\n').slice(-5).join('\n');
  return new LabError('LAB_SETUP', `${command} failed: ${said || String(cause)}`, { cause });
}
