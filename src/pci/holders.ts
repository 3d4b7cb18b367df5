/** Who has a node of VFIO open: by a descriptor, or by a mapping that outlived it. */
import { readlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { printable } from '../printable';
import { fileText } from './kernel-files';
import { DEV_VFIO, PROC, SYS } from './paths';
import { listDirectory } from './sysfs';

/** What a group gives for a device, VFIO_GROUP_GET_DEVICE_FD: a file without a path. */
const DEVICE_FD = 'anon_inode:[vfio-device]';
const MAX_TEXT = 16 << 20;

/**
 * `node (pid 123) by fd 23` for each process that keeps the group or device of `path` busy, as far as
 * the caller may see: other users' processes are hidden from all but root. Which device a descriptor
 * from a group is of, newer kernels tell (fdinfo), and of a mapping none does; such a process is
 * named if it has nothing else of VFIO open.
 */
export function findHolders(path: string): string[] {
  return listDirectory(PROC)
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const how = evidence(pid, path);
      const name = printable(text(`${PROC}/${pid}/comm`).trim() || '?');
      return how === undefined ? [] : [`${name} (pid ${pid}) by ${how}`];
    });
}

function evidence(pid: string, path: string): string | undefined {
  const files = openFiles(pid);
  const own = files.find(({ target, device }) => target === path || isOf(device, path));
  if (own) return `fd ${own.fd}`;
  const mapped = mappedFiles(pid);
  if (mapped.has(path)) return 'a mapping';
  // What is of another device explains itself.
  if (files.some(({ target, device }) => isNode(target) || device)) return;
  const unnamed = files.find(({ target }) => target === DEVICE_FD);
  if (unnamed) return `fd ${unnamed.fd}, of this device or another one`;
  return mapped.has(DEVICE_FD) ? 'a mapping of this device or another one' : undefined;
}

/** Of a group or a device; a container is of none. */
const isNode = (target: string) =>
  target.startsWith(`${DEV_VFIO}/`) && target !== `${DEV_VFIO}/vfio`;

interface OpenFile {
  readonly fd: string;
  readonly target: string;
  /** The directory in sysfs of the device that a descriptor from a group is of. */
  readonly device: string | undefined;
}

function openFiles(pid: string): OpenFile[] {
  return listDirectory(`${PROC}/${pid}/fd`).flatMap((fd) => {
    const target = linkTarget(`${PROC}/${pid}/fd/${fd}`);
    if (target !== DEVICE_FD)
      return target === undefined ? [] : [{ fd, target, device: undefined }];
    const info = text(`${PROC}/${pid}/fdinfo/${fd}`);
    return [{ fd, target, device: /^vfio-device-syspath:\s*(\S+)/m.exec(info)?.[1] }];
  });
}

/** proc(5), maps: the sixth field, which may have spaces. */
function mappedFiles(pid: string): Set<string> {
  const lines = text(`${PROC}/${pid}/maps`).split('\n');
  return new Set(lines.map((line) => line.replace(/^(\S+\s+){5}/, '')));
}

/** `.../0000:01:00.0/vfio-dev/vfio0` is `/dev/vfio/devices/vfio0`, and of its group's node. */
function isOf(device: string | undefined, path: string): boolean {
  if (device === undefined) return false;
  if (basename(dirname(path)) === 'devices') return basename(device) === basename(path);
  const group = basename(path).replace('noiommu-', '');
  const members = listDirectory(join(SYS, 'kernel/iommu_groups', group, 'devices'));
  return members.includes(basename(dirname(dirname(device))));
}

/** Empty where a process ended, or is not ours to look into. */
const text = (path: string) => fileText(path, MAX_TEXT) ?? '';

function linkTarget(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    // Closed since it was listed.
    return undefined;
  }
}
