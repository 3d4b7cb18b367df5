import { execFile } from 'node:child_process';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from '../errors';
import type { PrivateApt } from './apt';

/** Where packages put libraries, on a system whose directories are merged. */
const LIBRARIES = 'usr/lib/x86_64-linux-gnu';

/** Libraries whose packages do not have their names. */
const ODD_NAMES: Readonly<Record<string, string>> = { libz: 'zlib', libcrypto: 'libssl' };

/** A program of a package that is to be run without being installed. */
export interface PackagedProgram {
  /** Its path, such as `usr/bin/kmod`. */
  path: string;
  package: string;
  suite: string;
  /** Packages it needs besides those of the libraries that it is linked with. */
  data: readonly string[];
}

/**
 * Unpacks a program with the libraries it is linked with, down to the C library, into `root`: of
 * the packages that its own depends on only those that these libraries are in.
 *
 * @throws LabError `LAB_SETUP` if a library is in none of them
 */
export async function unpackProgram(
  apt: PrivateApt,
  program: PackagedProgram,
  root: string,
): Promise<void> {
  const closure = await apt.closure(program.package, program.suite);
  const isFirst = (name: string) =>
    name === program.package || name === 'libc6' || program.data.includes(name);
  let next = closure.filter(isFirst);
  let left = closure.filter((name) => !isFirst(name));
  while (next.length > 0) {
    await apt.unpack(next, root, program.suite);
    const missing = await missingLibraries(root, program.path);
    if (missing.length === 0) return;
    next = packagesOf(missing, left);
    left = left.filter((name) => !next.includes(name));
  }
  throw new LabError('LAB_SETUP', `${program.package} lacks a library that it is linked with`);
}

/**
 * The command that runs an unpacked program, whatever C library the machine itself has.
 *
 * @param name what the program is to think that it is called
 */
export function unpackedCommand(root: string, path: string, name = basename(path)): string[] {
  const libraries = join(root, LIBRARIES);
  return [
    join(libraries, 'ld-linux-x86-64.so.2'),
    ...['--library-path', libraries, '--argv0', name, join(root, path)],
  ];
}

/** Which of the libraries that a program or a plug-in is linked with are not below `root`. */
export async function missingLibraries(root: string, path: string): Promise<string[]> {
  const [loader = '', ...args] = unpackedCommand(root, path);
  const { stdout } = await promisify(execFile)(loader, args, {
    env: { LD_TRACE_LOADED_OBJECTS: '1' },
  });
  return parseTrace(stdout, root);
}

/** Reads the loader's trace: `SONAME => PATH (ADDRESS)`, `SONAME => not found`. */
export function parseTrace(text: string, root: string): string[] {
  const lines = [...text.matchAll(/^\s*(\S+) => (.*)$/gm)];
  // The loader looks in the machine's own directories, too, whose libraries may be too old.
  return lines.flatMap(([, soname = '', path]) => (path?.startsWith(`${root}/`) ? [] : [soname]));
}

/**
 * The packages that libraries are in, by Debian's rule for their names (`libpng16.so.16` is in
 * `libpng16-16t64`); all that are left if none follows the rule.
 */
export function packagesOf(sonames: readonly string[], left: readonly string[]): string[] {
  const beginnings = sonames.map((soname) => {
    const [stem = '', version = ''] = soname.split('.so.');
    return letters(`${ODD_NAMES[stem] ?? stem}${version.replace(/t64$/, '')}`);
  });
  const found = left.filter((name) =>
    beginnings.some((beginning) => letters(name).startsWith(beginning)),
  );
  return found.length > 0 ? found : [...left];
}

function letters(name: string): string {
  return name.replace(/[^A-Za-z0-9+]/g, '').toLowerCase();
}
