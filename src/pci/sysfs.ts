/** What sysfs says of a PCI device. Its contents are input like any other: read with limits, never trusted. */
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { VfioError } from '../errors';
import { hints } from '../hints';
import { isBdf, parseBdf } from './address';
import { SYS } from './paths';

export const PCI_DEVICES = join(SYS, 'bus/pci/devices');
export const PCI_DRIVERS = join(SYS, 'bus/pci/drivers');

/** A page of the largest kind: no attribute of sysfs is longer. */
const MAX_ATTRIBUTE = 65_536;

/**
 * What an entry answers that is not there (ENODEV and ESRCH: it went while it was read), is of another
 * kind than it should be, or does not tell: unknown, all of it. One odd entry must not hide the others.
 */
const unknown = new Set([
  ...['ENOENT', 'ENOTDIR', 'ENODEV', 'ENXIO', 'ESRCH'],
  ...['EISDIR', 'ELOOP', 'EINVAL', 'ENAMETOOLONG'],
  ...['EACCES', 'EPERM', 'EIO'],
]);

const isUnknown = (error: unknown) => unknown.has((error as NodeJS.ErrnoException).code ?? '');

/** What is wrong with this process, not with the entry: no descriptor or no memory is left. */
export function readError(
  cause: unknown,
  path: string,
  { what = `reading ${path}`, device }: { what?: string; device?: string } = {},
): VfioError {
  const { code = 'EIO', errno, syscall } = cause as NodeJS.ErrnoException;
  return new VfioError(code, `${what}: ${code}`, {
    ...(errno === undefined ? {} : { errno: Math.abs(errno) }),
    ...(syscall === undefined ? {} : { syscall }),
    ...(code === 'EMFILE' || code === 'ENFILE' ? { hint: hints.openFiles() } : {}),
    ...(device === undefined ? {} : { device }),
    ...{ path, cause },
  });
}

/** The start of a file, of `limit` bytes at most. */
export function readStart(path: string, limit: number): Buffer {
  const fd = openSync(path, 'r');
  try {
    const chunks: Buffer[] = [];
    for (let left = limit; left > 0; ) {
      const chunk = Buffer.allocUnsafe(Math.min(left, MAX_ATTRIBUTE));
      const count = readSync(fd, chunk);
      if (count === 0) break;
      chunks.push(chunk.subarray(0, count));
      left -= count;
    }
    return Buffer.concat(chunks);
  } finally {
    closeSync(fd);
  }
}

/** The text of an attribute without its newline, or undefined where there is no such attribute, or it does not tell. */
export function readAttribute(path: string): string | undefined {
  try {
    return readStart(path, MAX_ATTRIBUTE).toString('latin1').trimEnd();
  } catch (error) {
    if (isUnknown(error)) return undefined;
    throw readError(error, path);
  }
}

/** The last component of what a link points to, or undefined where there is no such link. */
export function readLinkName(path: string): string | undefined {
  try {
    return basename(readlinkSync(path));
  } catch (error) {
    if (isUnknown(error)) return undefined;
    throw readError(error, path);
  }
}

/** The PCI function that a link points to; undefined where it points to anything else. */
export function readFunctionLink(path: string): string | undefined {
  const name = readLinkName(path);
  return name !== undefined && isBdf(name) ? name : undefined;
}

/** The bridge that a device is behind, by its directory in sysfs; undefined on a root bus. */
export function bridgeAbove(path: string): string | undefined {
  try {
    const name = basename(dirname(realpathSync(path)));
    return name.startsWith('pci') ? undefined : name;
  } catch {
    return undefined;
  }
}

export function listDirectory(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch (error) {
    if (isUnknown(error)) return [];
    throw readError(error, path);
  }
}

export interface PciDevice {
  readonly bdf: string;
  /** Its directory in sysfs. */
  readonly path: string;
  readonly vendor: number;
  readonly device: number;
  /** Base class, sub-class and programming interface: 0x020000 is an Ethernet controller. */
  readonly class: number;
  readonly driver: string | undefined;
  readonly iommuGroup: number | undefined;
  /** The PF's address, for a VF. */
  readonly physfn: string | undefined;
}

function number(path: string): number {
  const value = Number(readAttribute(path));
  return Number.isSafeInteger(value) ? value : 0;
}

/** @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE */
export function readPciDevice(address: string): PciDevice {
  const bdf = parseBdf(address);
  const path = join(PCI_DEVICES, bdf);
  if (readAttribute(join(path, 'vendor')) === undefined) {
    throw new VfioError('ERR_VFIO_NO_DEVICE', `there is no PCI device ${bdf}`, {
      device: bdf,
      path,
      hint: existsSync(PCI_DEVICES) ? hints.noSuchDevice() : hints.noPci(),
    });
  }
  const group = readLinkName(join(path, 'iommu_group'));
  return {
    bdf,
    path,
    vendor: number(join(path, 'vendor')),
    device: number(join(path, 'device')),
    class: number(join(path, 'class')),
    driver: readLinkName(join(path, 'driver')),
    iommuGroup: group !== undefined && /^\d{1,9}$/.test(group) ? Number(group) : undefined,
    physfn: readFunctionLink(join(path, 'physfn')),
  };
}
