/** Disks of a device that the system has mounted, swaps to, or has claimed otherwise. */
import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../../errors';
import { printable } from '../../printable';
import { DEV, SYS } from '../paths';
import { listDirectory, type PciDevice, readAttribute } from '../sysfs';
import { partsOf, realPath, type Use } from './parts';
import { tableRows } from './tables';

const BLOCK = join(SYS, 'class/block');

/** Names in sysfs have `!` for a `/`. */
const nodeOf = (name: string) => join(DEV, name.replaceAll('!', '/'));

function partitionsOf(name: string): string[] {
  const directory = join(BLOCK, name);
  return listDirectory(directory).filter(
    (entry) => readAttribute(join(directory, entry, 'partition')) !== undefined,
  );
}

/**
 * With native multipath, what is below a controller is a hidden path, `nvme1c1n1`; the disk is
 * `nvme1n1` (subsystem, controller, namespace).
 */
const multipathDisk = (name: string) => name.replace(/^(nvme\d+)c\d+(n\d+)$/, '$1$2');

/** A disk and its partitions. */
function ownDisks(device: PciDevice): string[] {
  const disks = partsOf(device, 'block').map(multipathDisk);
  return [...new Set(disks.flatMap((name) => [name, ...partitionsOf(name)]))];
}

/** With the device mapper and RAID devices on them. */
function withHolders(disks: readonly string[]): string[] {
  const found = new Set<string>();
  const add = (name: string) => {
    if (found.has(name)) return;
    found.add(name);
    listDirectory(join(BLOCK, name, 'holders')).forEach(add);
    partitionsOf(name).forEach(add);
  };
  disks.forEach(add);
  return [...found];
}

/** `/dev/mapper/root` is a link to `/dev/dm-0`; proc(5) has `\040` for a space. */
function resolved(file: string): string | undefined {
  const name = file.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
  return name.startsWith('/dev/') ? realPath(join(DEV, name.slice('/dev/'.length))) : undefined;
}

/**
 * A file system, a RAID or a volume manager holds it, in whatever mount namespace: open(2), EBUSY of
 * O_EXCL. Only root can tell.
 */
function isClaimed(name: string): boolean {
  const { O_RDONLY, O_EXCL, O_NONBLOCK } = constants;
  try {
    closeSync(openSync(nodeOf(name), O_RDONLY | O_EXCL | O_NONBLOCK));
    return false;
  } catch (error) {
    return isErrno(error, 'EBUSY');
  }
}

/** All block devices that go with the device. */
export const disksOn = (device: PciDevice) => withHolders(ownDisks(device));

/** `nvme0n1p2 is mounted on /`: proc(5), mountinfo, fields 3, 5 and, after the dash, the source. */
export function diskUses(device: PciDevice): Use[] {
  const own = ownDisks(device);
  if (own.length === 0) return [];
  const disks = withHolders(own);
  const byNumber = new Map(disks.map((name) => [readAttribute(join(BLOCK, name, 'dev')), name]));
  const byFile = new Map(disks.map((name) => [nodeOf(name), name]));
  const diskOf = (file = '') => byFile.get(resolved(file) ?? file.replace(/^\/dev/, DEV));
  const mounts = tableRows('self/mountinfo').flatMap((fields): Use[] => {
    const [, , number, , on] = fields;
    if (number === undefined || on === undefined) return [];
    const name = byNumber.get(number) ?? diskOf(fields[fields.indexOf('-') + 2]);
    if (name === undefined) return [];
    return [{ kind: 'mount', name, text: `${name} is mounted on ${printable(on)}` }];
  });
  const swaps = tableRows('swaps').flatMap(([file]): Use[] => {
    const name = diskOf(file);
    return name === undefined ? [] : [{ kind: 'swap', name, text: `${name} is swap space` }];
  });
  const known = [...mounts, ...swaps];
  return known.length > 0 ? known : claims(own);
}

function claims(disks: readonly string[]): Use[] {
  return disks.filter(isClaimed).map((name) => ({
    kind: 'claim',
    name,
    text: `${name} is claimed, by a file system, RAID or volume manager`,
  }));
}
