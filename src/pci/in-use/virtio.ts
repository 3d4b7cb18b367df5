/** Virtio devices that connect a guest to its host: shared files, and ports that are open. */
import { join } from 'node:path';
import { findHolders } from '../holders';
import { DEV } from '../paths';
import { listDirectory, type PciDevice, readAttribute } from '../sysfs';
import { partsOf, type Use } from './parts';

export function virtioUses(device: PciDevice): Use[] {
  return [...sharedFiles(device), ...openPorts(device)];
}

/**
 * A share of the host's files (9p). The kernel does not report whether it is mounted: the root file
 * system of a guest may be an overlay, whose layers are in no table of mounts.
 */
function sharedFiles({ path }: PciDevice): Use[] {
  return listDirectory(path)
    .filter((name) => /^virtio\d+$/.test(name))
    .flatMap((name): Use[] => {
      const tag = readAttribute(join(path, name, 'mount_tag'))?.replaceAll('\0', '');
      return tag
        ? [{ kind: 'mount', name, text: `${name} shares files of the host (${tag})` }]
        : [];
    });
}

/** Serial ports to programs on the host, which lose them for good. */
function openPorts(device: PciDevice): Use[] {
  const holders = partsOf(device, 'virtio-ports').map((name) => ({
    name,
    who: findHolders(join(DEV, name)),
  }));
  return holders
    .filter(({ who }) => who.length > 0)
    .map(({ name, who }) => ({ kind: 'port', name, text: `${name} is open in ${who.join(', ')}` }));
}
