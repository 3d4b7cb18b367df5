import { execFile } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from '../errors';
import type { PrivateApt } from '../packages/apt';
import { unpackedCommand, unpackProgram } from '../packages/program';

/**
 * Writes the lists by which modprobe finds modules and what they need: packages leave that to their
 * installation. On a machine that has no depmod, that of the distribution runs from a directory
 * below `temporary`.
 *
 * @param root the parent of `lib/modules/<release>`
 */
export async function listModules(
  apt: PrivateApt,
  root: string,
  release: string,
  temporary: string,
): Promise<void> {
  const [program = '', ...args] = (await installedDepmod()) ?? (await fetchDepmod(apt, temporary));
  await promisify(execFile)(program, [...args, '-b', root, release], { env: withSystemPath() });
}

async function installedDepmod(): Promise<string[] | undefined> {
  try {
    await promisify(execFile)('depmod', ['--version'], { env: withSystemPath() });
    return ['depmod'];
  } catch {
    return undefined;
  }
}

async function fetchDepmod(apt: PrivateApt, temporary: string): Promise<string[]> {
  const [offer] = await apt.versions('kmod');
  if (offer === undefined) throw new LabError('LAB_SETUP', 'the distribution has no kmod');
  const root = await mkdtemp(join(temporary, 'kmod-'));
  // All programs of the package are this one, by other names.
  const path = 'usr/bin/kmod';
  await unpackProgram(apt, { path, package: 'kmod', suite: offer.suite, data: [] }, root);
  return unpackedCommand(root, path, 'depmod');
}

/** depmod is in a directory that a user's PATH often lacks. */
function withSystemPath(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
}
