import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from '../errors';
import type { PrivateApt } from '../packages/apt';
import { firstExisting, unpackInto } from '../packages/unpack';
import { busyboxPath } from '../paths';

const PACKAGE = 'busybox-static';

/** Unpacks the only program that the initramfs contains. */
export async function fetchBusybox(
  apt: PrivateApt,
  progress: (line: string) => void,
): Promise<void> {
  const [offer] = await apt.versions(PACKAGE);
  if (offer === undefined) throw new LabError('LAB_SETUP', `the distribution has no ${PACKAGE}`);
  progress(`unpacking busybox ${offer.version} from ${offer.suite} into ${busyboxPath()}`);
  await unpackInto(busyboxPath(), async (directory) => {
    await apt.unpack([PACKAGE], directory, offer.suite);
    return join(directory, firstExisting(directory, ['usr/bin/busybox', 'bin/busybox']));
  });
}

/** What a busybox says that it is, such as `1.35.0`. */
export async function busyboxVersion(path: string): Promise<string> {
  const { stdout } = await promisify(execFile)(path, ['--help']);
  return /BusyBox v(\S+)/.exec(stdout)?.[1] ?? 'of unknown version';
}
