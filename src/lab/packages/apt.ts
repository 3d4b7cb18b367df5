import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
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

  private constructor(directory: string) {
    this.#directory = directory;
    this.#config = join(directory, 'apt.conf');
  }

  /** Whether this system has apt at all. */
  static isAvailable(): boolean {
    return existsSync('/usr/bin/apt-get') && existsSync('/usr/bin/dpkg-deb');
  }

  /**
   * Fetches the package lists into a new directory below `parent`.
   *
   * @param further suites of other releases, for packages that are only unpacked: nothing can be
   *   installed safely while these are there
   * @throws LabError `LAB_SETUP` if the machine's sources lack the distribution's archive, or it
   *   cannot be reached
   */
  static async open(parent: string, further: FurtherSuites = {}): Promise<PrivateApt> {
    const distribution = parseOsRelease(readFileSync('/etc/os-release', 'utf8'));
    const sources = distributionSources(readMachineSources(), distribution, further);
    if (sources.length === 0) throw noArchive(distribution);
    await mkdir(parent, { recursive: true });
    const apt = new PrivateApt(await mkdtemp(join(parent, 'apt-')));
    try {
      await apt.#configure(sources);
      await apt.#run('apt-get', ['update']);
      return apt;
    } catch (error) {
      await apt[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The versions on offer, those of the release itself before those of its backports. */
  async versions(name: string): Promise<PackageVersion[]> {
    const table = await this.#run('apt-cache', ['madison', name]);
    return parseMadison(table, name);
  }

  /** The packages whose names match that a package depends on, itself included. */
  async closure(name: string, suite: string, pattern: RegExp): Promise<string[]> {
    const found = [name];
    for (const current of found) {
      const text = await this.#run('apt-cache', ['depends', '-t', suite, '--important', current]);
      for (const [, dependency] of text.matchAll(/^ *\|?(?:Pre)?Depends: (\S+)/gm)) {
        if (dependency && pattern.test(dependency) && !found.includes(dependency)) {
          found.push(dependency);
        }
      }
    }
    return found;
  }

  /** Downloads packages and unpacks them, one over the other, into `directory`. */
  async unpack(names: readonly string[], suite: string, directory: string): Promise<void> {
    const packages = await mkdtemp(join(this.#directory, 'packages-'));
    await this.#run('apt-get', ['download', '-t', suite, ...names], packages);
    for (const file of readdirSync(packages)) {
      await this.#run('dpkg-deb', ['-x', join(packages, file), directory]);
    }
  }

  /**
   * Installs packages on the machine, as root; asks for sudo's password if it must.
   *
   * @param suite where to take them from; by default the release, with its updates
   */
  async install(names: readonly string[], suite?: string): Promise<void> {
    const target = suite === undefined ? [] : ['-t', suite];
    const args = ['install', '-y', '--no-install-recommends', ...target, ...names];
    if (process.getuid?.() === 0) await this.#run('apt-get', args);
    else await this.#run('sudo', [...nonInteractive(), 'apt-get', '-c', this.#config, ...args]);
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

  async #run(program: string, args: readonly string[], cwd = this.#directory): Promise<string> {
    // Of the two ways to give apt a file of settings, this one comes after the machine's own.
    const settings = program.startsWith('apt-') ? ['-c', this.#config] : [];
    try {
      const { stdout } = await promisify(execFile)(program, [...settings, ...args], {
        cwd,
        env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
        maxBuffer: 64 << 20,
      });
      return stdout;
    } catch (cause) {
      throw aptFailure(`${program} ${args.join(' ')}`, cause);
    }
  }
}

/** Reads what `apt-cache madison` prints: `package | version | uri suite/component ...`. */
export function parseMadison(text: string, name: string): PackageVersion[] {
  const versions = text.split('\n').flatMap((line) => {
    const [found, version, source] = line.split('|').map((column) => column.trim());
    const suite = source?.split(' ')[1]?.split('/')[0];
    return found === name && version && suite ? [{ version, suite }] : [];
  });
  const isBackport = ({ suite }: PackageVersion) => Number(suite.endsWith('-backports'));
  return versions.sort((a, b) => isBackport(a) - isBackport(b));
}

function configuration(parts: string, lists: string): string {
  return [
    `Dir::Etc::sourcelist "/dev/null";`,
    `Dir::Etc::sourceparts "${parts}";`,
    `Dir::State::lists "${lists}";`,
    // The caches beside the machine's lists do not belong to these.
    'Dir::Cache::pkgcache "";',
    'Dir::Cache::srcpkgcache "";',
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

/** sudo without a terminal must fail rather than wait for a password. */
function nonInteractive(): string[] {
  return process.stdin.isTTY ? [] : ['-n'];
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
