/** What the running system would lose with a device: disks, network, displays, ties to the host, open nodes. */
import { diskUses } from './in-use/disks';
import { displayUses } from './in-use/displays';
import { networkUses } from './in-use/network';
import { openNodes } from './in-use/nodes';
import type { Use } from './in-use/parts';
import { virtioUses } from './in-use/virtio';
import { type Process, processes } from './processes';
import type { PciDevice } from './sysfs';

/** Why the system needs a device; empty if it does not, as far as can be seen. */
export function usesOf(device: PciDevice, among: readonly Process[] = processes()): Use[] {
  return [
    ...diskUses(device),
    ...networkUses(device),
    ...displayUses(device),
    ...virtioUses(device),
    ...openNodes(device, among),
  ];
}
