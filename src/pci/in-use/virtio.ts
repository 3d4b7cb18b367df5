/** Virtio devices that connect a guest to its host: shared files. */
import { join } from 'node:path';
import { listDirectory, type PciDevice, readAttribute } from '../sysfs';
import type { Use } from './parts';

/**
 * A share of the host's files (9p). The kernel does not report whether it is mounted: the root file
 * system of a guest may be an overlay, whose layers are in no table of mounts.
 */
export function virtioUses({ path }: PciDevice): Use[] {
  return listDirectory(path)
    .filter((name) => /^virtio\d+$/.test(name))
    .flatMap((name): Use[] => {
      const tag = readAttribute(join(path, name, 'mount_tag'))?.replaceAll('\0', '');
      return tag
        ? [{ kind: 'share', name, text: `${name} shares files of the host (${tag})` }]
        : [];
    });
}
