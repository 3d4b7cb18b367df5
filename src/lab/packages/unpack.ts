import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LabError } from '../errors';
import { cacheDirectory } from '../paths';

/**
 * Makes `target` appear complete or not at all, also when two set-ups race.
 *
 * @param unpack fills a directory, and returns what of it (or in it) is to be `target`
 */
export async function unpackInto(
  target: string,
  unpack: (directory: string) => Promise<string>,
): Promise<void> {
  const temporary = join(cacheDirectory(), 'tmp');
  await Promise.all([
    mkdir(dirname(target), { recursive: true }),
    mkdir(temporary, { recursive: true }),
  ]);
  const directory = await mkdtemp(join(temporary, 'unpack-'));
  try {
    const result = await unpack(directory);
    await rename(result, target).catch((error) => {
      if (!existsSync(target)) throw error;
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * The first of the places where packages of different ages put the same thing.
 *
 * @throws LabError `LAB_SETUP` if it is in none of them
 */
export function firstExisting(directory: string, candidates: readonly string[]): string {
  const found = candidates.find((candidate) => existsSync(join(directory, candidate)));
  if (found !== undefined) return found;
  throw new LabError('LAB_SETUP', `the package holds none of ${candidates.join(', ')}`);
}
