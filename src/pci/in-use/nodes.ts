/** Nodes in /dev and files in sysfs that lead to a device, and the processes that have them open or mapped. */
import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { deviceNodes } from '../device-nodes';
import { findHolders } from '../holders';
import { DEV, PROC, SYS } from '../paths';
import type { Process } from '../processes';
import { listDirectory, type PciDevice, readAttribute, readLinkName } from '../sysfs';
import { disksOn } from './disks';
import { realPath, type Use } from './parts';

/** More than the largest host controller has; links are not followed, so that it comes to an end anyway. */
const MAX_DIRECTORIES = 50_000;

interface Node {
  /** `nvme0n1p2`, `card0`. */
  readonly name: string;
  /** Where udev and devtmpfs put it; undefined if the kernel does not report it. */
  readonly path: string | undefined;
  /** `259:2`. */
  readonly number: string | undefined;
}

/** `card0 is open in Xorg (pid 1) by fd 9`: by whomever, in whatever way. */
export function openNodes(device: PciDevice, among: readonly Process[]): Use[] {
  const directories = directoriesOf(device);
  const vfio = vfioNodes(device, directories).flatMap((path) =>
    findHolders(path, among).map((who) => useOf(basename(path), who)),
  );
  return [...vfio, ...openBy(device, nodesOf(device, directories), among)];
}

const useOf = (name: string, who: string): Use => ({
  kind: 'open',
  name,
  text: `${name} is open in ${who}`,
});

/** Its own directory in sysfs and those below, children on other buses included. */
function directoriesOf({ path }: PciDevice): string[] {
  const found = [path];
  for (let i = 0; i < found.length && found.length < MAX_DIRECTORIES; i++) {
    found.push(...subdirectories(found[i]!));
  }
  return found;
}

function subdirectories(path: string): string[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(path, name));
  } catch {
    return [];
  }
}

/** Of the mediated devices that it carries, and the PCI functions behind it. */
function vfioNodes(device: PciDevice, directories: readonly string[]): string[] {
  const children = directories.filter((path) => path !== device.path);
  const nodes = children.flatMap((path) => {
    const group = readLinkName(join(path, 'iommu_group'));
    return group !== undefined && /^\d{1,9}$/.test(group)
      ? deviceNodes({ path, iommuGroup: Number(group) })
      : [];
  });
  const own = new Set(deviceNodes(device));
  return [...new Set(nodes)].filter((path) => !own.has(path));
}

function nodesOf(device: PciDevice, directories: readonly string[]): Node[] {
  const own = directories
    .filter((path) => basename(join(path, '..')) !== 'vfio-dev')
    .flatMap(nodeAt);
  const disks = disksOn(device).flatMap((name) => {
    const [node] = nodeAt(join(SYS, 'class/block', name));
    return [node ?? { name, path: join(DEV, name.replaceAll('!', '/')), number: undefined }];
  });
  const ports = classMembers(device);
  const all = [...own, ...disks, ...ports, ...nvidiaNodes(device)];
  return [...new Map(all.map((node) => [node.number ?? node.name, node])).values()];
}

/** Members of all classes that are part of it, for a class whose members have no number. */
function classMembers(device: PciDevice): Node[] {
  const own = `${realPath(device.path)}/`;
  return listDirectory(join(SYS, 'class')).flatMap((kind) =>
    ['net', 'vfio-dev'].includes(kind)
      ? []
      : listDirectory(join(SYS, 'class', kind)).flatMap((name) => {
          const path = realPath(join(SYS, 'class', kind, name));
          if (!path?.startsWith(own)) return [];
          return nodeAt(path)[0] ?? { name, path: undefined, number: undefined };
        }),
  );
}

/** What has a number of a device has a node; `uevent` has its path below /dev. */
function nodeAt(directory: string): Node[] {
  const number = readAttribute(join(directory, 'dev'));
  if (number === undefined) return [];
  const path = /^DEVNAME=(.+)$/m.exec(readAttribute(join(directory, 'uevent')) ?? '')?.[1];
  const name = basename(directory);
  return [{ name, path: path === undefined ? undefined : join(DEV, path), number }];
}

/** The proprietary driver makes nodes without a device in sysfs. */
function nvidiaNodes({ bdf }: PciDevice): Node[] {
  const text = readAttribute(join(PROC, 'driver/nvidia/gpus', bdf, 'information')) ?? '';
  const minor = /^Device Minor:\s*(\d+)/m.exec(text)?.[1];
  if (minor === undefined) return [];
  return [{ name: `nvidia${minor}`, path: join(DEV, `nvidia${minor}`), number: `195:${minor}` }];
}

function openBy(device: PciDevice, nodes: readonly Node[], among: readonly Process[]): Use[] {
  const byPath = new Map(nodes.map((node) => [node.path, node.name]));
  const byNumber = new Map(nodes.map((node) => [node.number, node.name]));
  const unplaced = new Map(
    nodes
      .filter(({ path }) => path === undefined)
      .map(({ name }) => [name.replaceAll('!', '/'), name]),
  );
  const bars = `${realPath(device.path)}/resource`;
  const nameOf = (target: string, link?: string): string | undefined => {
    if (target.startsWith(bars)) return basename(target);
    const isNode = target.startsWith(`${DEV}/`);
    const placed = byPath.get(target) ?? (isNode ? unplaced.get(basename(target)) : undefined);
    if (placed !== undefined) return placed;
    // In a container, or by mknod, it has another name; of what is elsewhere, stat() could wait for a server.
    return link !== undefined && (isNode || target.startsWith('/dev/'))
      ? byNumber.get(numberOf(link))
      : undefined;
  };
  return among.flatMap((process) => {
    const files = process.files().flatMap(({ fd, target }) => {
      const name = nameOf(target, `${PROC}/${process.pid}/fd/${fd}`);
      return name === undefined ? [] : [{ name, how: `fd ${fd}` }];
    });
    const mapped = [...process.mappings()].flatMap((target) => {
      const name = nameOf(target);
      return name === undefined ? [] : [{ name, how: 'a mapping' }];
    });
    const first = new Map([...mapped, ...files.reverse()].map((found) => [found.name, found]));
    return [...first.values()].map(({ name, how }) => useOf(name, `${process.name} by ${how}`));
  });
}

/** `259:2` of a node: major and minor as makedev(3) has them. */
function numberOf(path: string): string | undefined {
  try {
    const file = statSync(path, { bigint: true });
    if (!file.isBlockDevice() && !file.isCharacterDevice()) return undefined;
    const { rdev } = file;
    const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
    return `${major}:${(rdev & 0xffn) | ((rdev >> 12n) & ~0xffn & 0xffff_ffffn)}`;
  } catch {
    return undefined;
  }
}
