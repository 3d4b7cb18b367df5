import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { HiddenPath } from '../guest/init';

/**
 * Mounts a view of the host's files at `$1/view`, without the paths up to `--`, and becomes the
 * command after it. In a mount namespace of its own, so that it ends with that command. The
 * kernel's file systems stay out as well: the guest has its own, and those of the host would show
 * it the memory and the environment of every process.
 */
const VIEW = `set -e
directory=$1
shift
mount --rbind / "$directory/view"
# A directory for each: 9p takes one in two places for one that has moved.
mount -t tmpfs -o mode=755 tmpfs "$directory/empty"
: >"$directory/empty/file"
count=0
hide() {
  if [ -d "$1" ]; then
    count=$((count + 1))
    mkdir "$directory/empty/$count"
    mount --bind "$directory/empty/$count" "$directory/view$1"
  elif [ -e "$1" ]; then
    mount --bind "$directory/empty/file" "$directory/view$1"
  fi
}
for path in /proc /sys /dev /run; do hide $path; done
while [ "$1" != -- ]; do
  hide "$1"
  shift
done
shift
exec "$@"`;

/** With the rights that this process has, and with those that a user namespace gives. */
const ENTERINGS = [
  ['unshare', '--mount', '--propagation', 'private', '--'],
  ['unshare', '--user', '--map-root-user', '--mount', '--propagation', 'private', '--'],
];

/** What of the host's files a guest gets to see, and how QEMU is started for it. */
export interface HostView {
  /** The directory to share, as QEMU sees it. */
  readonly root: string;
  /** What is left to hide for the guest itself. */
  readonly hidden: readonly HiddenPath[];
  /** The words to put before QEMU's command. */
  readonly enter: readonly string[];
}

/**
 * A view without the hidden paths, which no guest can undo, where the system lets this process make
 * mounts. Else all files, for the guest to hide.
 *
 * @param directory of the VM
 */
export async function viewOfHost(
  directory: string,
  hidden: readonly HiddenPath[],
): Promise<HostView> {
  await mkdir(join(directory, 'view'));
  await mkdir(join(directory, 'empty'));
  const paths = hidden.map(({ path }) => path);
  for (const entering of ENTERINGS) {
    const enter = [...entering, 'sh', '-c', VIEW, 'vfio-lab', directory, ...paths, '--'];
    if (await succeeds([...enter, 'true'])) {
      return { root: join(directory, 'view'), hidden: [], enter };
    }
  }
  return { root: '/', hidden, enter: [] };
}

async function succeeds([program = '', ...args]: readonly string[]): Promise<boolean> {
  try {
    await promisify(execFile)(program, args);
    return true;
  } catch {
    return false;
  }
}
