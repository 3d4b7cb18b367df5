import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from '../errors';
import type { PrivateApt } from '../packages/apt';
import { missingLibraries, unpackedCommand, unpackProgram } from '../packages/program';
import { unpackInto } from '../packages/unpack';
import { compareVersions, isAtLeast, withoutEpoch } from '../packages/versions';
import { cacheDirectory } from '../paths';

/** A QEMU that can be run. */
export interface Qemu {
  version: string;
  /** The program's file, for messages. */
  path: string;
  /** The program with the arguments that its own come after. */
  command: readonly [program: string, ...args: string[]];
  /** Variables it needs. */
  env: Readonly<Record<string, string>>;
}

export const QEMU_PROGRAM = 'qemu-system-x86_64';

/** The oldest version that will do: the first with an igb. */
export const OLDEST_QEMU = '8.0';

const PACKAGE = 'qemu-system-x86';

/** Firmware, option ROMs and plug-ins. */
const DATA_PACKAGES = ['qemu-system-common', 'qemu-system-data', 'seabios', 'ipxe-qemu'];

/** Places in an unpacked QEMU. */
const PROGRAM = join('usr/bin', QEMU_PROGRAM);
const PLUG_INS = 'usr/lib/x86_64-linux-gnu/qemu';
const FIRMWARE = ['usr/share/qemu', 'usr/share/seabios', 'usr/lib/ipxe/qemu'];

/** The newest QEMU that the set-up has unpacked. */
export function unpackedQemu(): Qemu | undefined {
  const versions = existsSync(directory()) ? readdirSync(directory()) : [];
  const version = versions.sort(compareVersions).at(-1);
  if (version === undefined) return undefined;
  const root = join(directory(), version);
  const [loader = '', ...args] = unpackedCommand(root, PROGRAM);
  return {
    version,
    path: join(root, PROGRAM),
    command: [loader, ...args, ...FIRMWARE.flatMap((place) => ['-L', join(root, place)])],
    env: { QEMU_MODULE_DIR: join(root, PLUG_INS) },
  };
}

/** The machine's own QEMU, from the PATH, if it is new enough. */
export async function installedQemu(): Promise<Qemu | undefined> {
  const version = await versionOf(QEMU_PROGRAM).catch(() => undefined);
  if (version === undefined || !isAtLeast(version, OLDEST_QEMU)) return undefined;
  return { version, path: QEMU_PROGRAM, command: [QEMU_PROGRAM], env: {} };
}

/**
 * The QEMU that the user names by its path.
 *
 * @throws LabError `LAB_ARGUMENT` if it is none, or too old
 */
export async function qemuAt(name: string): Promise<Qemu> {
  const path = resolve(name);
  const version = await versionOf(path).catch((cause) => {
    throw new LabError('LAB_ARGUMENT', `cannot run ${path} as a QEMU: ${firstLine(cause)}`, {
      cause,
      hint: `--qemu takes the path of a ${QEMU_PROGRAM}`,
    });
  });
  if (version === undefined) throw new LabError('LAB_ARGUMENT', `${path} is not a QEMU`);
  if (isAtLeast(version, OLDEST_QEMU)) return { version, path, command: [path], env: {} };
  throw new LabError('LAB_ARGUMENT', `${path} is QEMU ${version}`, {
    hint: `the lab needs ${OLDEST_QEMU} or newer`,
  });
}

/**
 * Unpacks the newest QEMU that the distribution has, with all it loads, into the cache.
 *
 * @throws LabError `LAB_SETUP` if there is none that is new enough
 */
export async function fetchQemu(apt: PrivateApt, progress: (line: string) => void): Promise<void> {
  const offers = await apt.versions(PACKAGE);
  const newest = [...offers].sort((a, b) => compareVersions(a.version, b.version)).at(-1);
  if (newest === undefined || !isAtLeast(newest.version, OLDEST_QEMU)) {
    throw new LabError(
      'LAB_SETUP',
      `the distribution has no ${PACKAGE} ${OLDEST_QEMU} or newer: it has ${newest?.version ?? 'none'}`,
    );
  }
  const version = withoutEpoch(newest.version);
  const target = join(directory(), version);
  progress(`unpacking QEMU ${version} from ${newest.suite} into ${target} (about 35 MB)`);
  const program = { path: PROGRAM, package: PACKAGE, suite: newest.suite, data: DATA_PACKAGES };
  await unpackInto(target, async (root) => {
    await unpackProgram(apt, program, root);
    await reduce(root);
    const [command = '', ...args] = unpackedCommand(root, PROGRAM);
    // What would not run here is not worth having.
    await promisify(execFile)(command, [...args, '--version']).catch((cause) => {
      throw new LabError('LAB_SETUP', `QEMU ${version} does not run here: ${firstLine(cause)}`, {
        cause,
      });
    });
    return root;
  });
}

/** Removes what is not needed: other programs, plug-ins whose libraries are not there, documents. */
async function reduce(root: string): Promise<void> {
  const keepOnly = async (place: string, kept: readonly string[]) => {
    const names = await readdir(join(root, place));
    const others = names.filter((name) => !kept.includes(name));
    await Promise.all(others.map((name) => rm(join(root, place, name), { recursive: true })));
  };
  await keepOnly('usr/bin', [QEMU_PROGRAM]);
  await keepOnly('usr/share', ['qemu', 'seabios']);
  await rm(join(root, 'usr/lib/x86_64-linux-gnu/gconv'), { recursive: true, force: true });
  for (const name of await readdir(join(root, PLUG_INS))) {
    const missing = await missingLibraries(root, join(PLUG_INS, name));
    if (missing.length > 0) await rm(join(root, PLUG_INS, name));
  }
}

async function versionOf(program: string): Promise<string | undefined> {
  const { stdout } = await promisify(execFile)(program, ['--version'], { env: process.env });
  return /^QEMU emulator version (\S+)/.exec(stdout)?.[1];
}

/** What a program said when it failed, or why it could not be run. */
function firstLine(cause: Error & { stderr?: string }): string {
  return (cause.stderr?.trim() || cause.message).split('\n')[0] ?? '';
}

/** All unpacked QEMUs, a directory for each version. */
function directory(): string {
  return join(cacheDirectory(), 'qemu');
}
