import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PrivateApt } from '../packages/apt';

/** What a build needs, besides what every Debian system has. */
const PACKAGES = 'bc bison flex gcc kmod libc6-dev libelf-dev make xz-utils'.split(' ');

/** The machine's own C library is the only one that its programs run with. */
const NOT_UNPACKED = ['libc6'];

const LIBRARIES = 'usr/lib/x86_64-linux-gnu';

/** How a build finds its tools. */
export interface BuildTools {
  env: Readonly<Record<string, string>>;
  /** Variables that make takes on its command line only. */
  makeArguments: readonly string[];
}

/**
 * Unpacks compiler and tools into `directory` as far as the machine lacks them.
 *
 * @throws LabError `LAB_SETUP` if the distribution does not have them
 */
export async function provideBuildTools(
  directory: string,
  progress: (line: string) => void,
): Promise<BuildTools> {
  const missing = await missingPackages(PACKAGES);
  if (missing.length === 0) return { env: {}, makeArguments: [] };
  if (!existsSync(directory)) {
    progress(`unpacking ${missing.join(', ')} for the build`);
    // Of this release only, as they are to run with the machine's own libraries.
    await using apt = await PrivateApt.open(join(directory, '..'));
    const needed = await apt.additions(missing);
    const partial = `${directory}.partial`;
    await rm(partial, { recursive: true, force: true });
    await apt.unpack(
      needed.filter((name) => !NOT_UNPACKED.includes(name)),
      partial,
    );
    await relocate(partial, directory);
    await rename(partial, directory);
  }
  return toolsIn(directory);
}

/** Leads what is written into the packages as `/usr/lib` to where they are. */
async function relocate(root: string, finalRoot: string): Promise<void> {
  const directory = join(root, LIBRARIES);
  for (const name of await readdir(directory).catch(() => [] as string[])) {
    if (!/^lib[cm]\.so$/.test(name)) continue;
    const script = await readFile(join(directory, name), 'utf8');
    const pattern = /\/(?:usr\/)?lib\/x86_64-linux-gnu\/(\S+(?:_nonshared\.a|\.so\.\d+))/g;
    const moved = script.replace(pattern, (path, file) =>
      existsSync(join(directory, file)) ? join(finalRoot, LIBRARIES, file) : path,
    );
    await writeFile(join(directory, name), moved);
  }
}

/** Search paths by which programs, and what they compile, find their files below `root`. */
function toolsIn(root: string): BuildTools {
  const libraries = join(root, LIBRARIES);
  const headers = join(root, 'usr/include');
  // For programs that run during the build; the kernel itself uses no file of the system.
  const hostCompiler = [
    ...['gcc', '-isystem', headers, '-isystem', join(headers, 'x86_64-linux-gnu')],
    ...[`-B${libraries}`, `-L${libraries}`],
  ];
  const programs = ['usr/bin', 'usr/sbin'].map((place) => join(root, place));
  return {
    env: {
      PATH: [...programs, process.env.PATH, '/usr/sbin', '/sbin'].join(':'),
      LD_LIBRARY_PATH: libraries,
      BISON_PKGDATADIR: existing(join(root, 'usr/share/bison'), '/usr/share/bison'),
      M4: existing(join(root, 'usr/bin/m4'), 'm4'),
    },
    makeArguments: [`HOSTCC=${hostCompiler.join(' ')}`],
  };
}

function existing(path: string, otherwise: string): string {
  return existsSync(path) ? path : otherwise;
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
