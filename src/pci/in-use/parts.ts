/** What the kernel has made of a device: disks, interfaces, displays, nodes. */
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { SYS } from '../paths';
import { listDirectory, type PciDevice } from '../sysfs';

export interface Use {
  readonly kind:
    | 'mount'
    | 'share'
    | 'swap'
    | 'claim'
    | 'route'
    | 'ssh'
    | 'socket'
    | 'display'
    | 'open';
  /** The part of the device: `nvme0n1p2`, `eth0`, `card0`. */
  readonly name: string;
  /** A whole sentence's end: `nvme0n1p2 is mounted on /`. */
  readonly text: string;
}

export function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** Members of a class (`block`, `net`, `drm`) that are part of the device. */
export function partsOf(device: PciDevice, kind: string): string[] {
  const own = `${realPath(device.path)}/`;
  const directory = join(SYS, 'class', kind);
  return listDirectory(directory).filter((name) =>
    realPath(join(directory, name))?.startsWith(own),
  );
}
