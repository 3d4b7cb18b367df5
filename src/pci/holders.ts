/** Who has a node of VFIO open: by a descriptor, or by a mapping that outlived it. */
import { basename, dirname, join } from 'node:path';
import { DEV_VFIO, SYS } from './paths';
import { type OpenFile, type Process, processes } from './processes';
import { listDirectory } from './sysfs';

/** What a group gives for a device, VFIO_GROUP_GET_DEVICE_FD: a file without a path. */
const DEVICE_FD = 'anon_inode:[vfio-device]';

/**
 * `node (pid 123) by fd 23` for each process that keeps the group or device of `path` busy, as far as
 * the caller may see: other users' processes are hidden from all but root. Which device a descriptor
 * from a group is of, newer kernels report (fdinfo), and of a mapping none does; such a process is
 * named if it has nothing else of VFIO open.
 */
export function findHolders(path: string, among: readonly Process[] = processes()): string[] {
  return among.flatMap((process) => {
    const how = evidence(process, path);
    return how === undefined ? [] : [`${process.name} by ${how}`];
  });
}

function evidence(process: Process, path: string): string | undefined {
  const files = openFiles(process);
  const own = files.find(({ target, device }) => target === path || isOf(device, path));
  if (own) return `fd ${own.fd}`;
  const mapped = process.mappings();
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

interface VfioFile extends OpenFile {
  /** The directory in sysfs of the device that a descriptor from a group is of. */
  readonly device: string | undefined;
}

function openFiles(process: Process): VfioFile[] {
  return process.files().map(({ fd, target }) => {
    if (target !== DEVICE_FD) return { fd, target, device: undefined };
    const device = /^vfio-device-syspath:\s*(\S+)/m.exec(process.fdinfo(fd))?.[1];
    return { fd, target, device };
  });
}

/** `.../0000:01:00.0/vfio-dev/vfio0` is `/dev/vfio/devices/vfio0`, and of its group's node. */
function isOf(device: string | undefined, path: string): boolean {
  if (device === undefined) return false;
  if (basename(dirname(path)) === 'devices') return basename(device) === basename(path);
  const group = basename(path).replace('noiommu-', '');
  const members = listDirectory(join(SYS, 'kernel/iommu_groups', group, 'devices'));
  return members.includes(basename(dirname(dirname(device))));
}
