/** Whether two devices can be given to different owners. */
import { VfioError } from '../errors';
import { hints } from '../hints';
import { parseBdf } from '../pci/address';
import { flatten, type TopologyNode } from './tree';

export interface SplitAnswer {
  readonly possible: boolean;
  /** Why, one sentence each. */
  readonly reasons: readonly string[];
}

/** @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE */
export function canSplit(roots: readonly TopologyNode[], a: string, b: string): SplitAnswer {
  const nodes = new Map(flatten(roots).map((node) => [node.bdf, node]));
  const [first, second] = [nodeOf(nodes, a), nodeOf(nodes, b)];
  if (first.bdf === second.bdf) {
    return { possible: false, reasons: [`${first.bdf} is one function, and has one owner`] };
  }
  const without = [first, second].filter(({ iommuGroup }) => iommuGroup === null);
  if (without.length > 0) {
    const reasons = without.map(
      ({ bdf }) => `${bdf} is in no IOMMU group: no IOMMU is in front of it`,
    );
    return { possible: false, reasons };
  }
  if (first.iommuGroup === second.iommuGroup) {
    const reasons = sharingReasons(nodes, first, second);
    return {
      possible: false,
      reasons: [`both are in IOMMU group ${first.iommuGroup}`, ...reasons],
    };
  }
  const reasons = [
    `their IOMMU groups, ${first.iommuGroup} and ${second.iommuGroup}, are isolated`,
  ];
  const pf = [first, second].find(({ sriov }) => sriov?.role === 'vf');
  if (pf?.sriov?.role === 'vf') {
    reasons.push(`${pf.bdf} is a VF: the owner of ${pf.sriov.pf}, its PF, can reset and remove it`);
  }
  return { possible: true, reasons };
}

function nodeOf(nodes: ReadonlyMap<string, TopologyNode>, address: string): TopologyNode {
  const bdf = parseBdf(address);
  const node = nodes.get(bdf);
  if (node) return node;
  throw new VfioError('ERR_VFIO_NO_DEVICE', `there is no PCI device ${bdf}`, {
    device: bdf,
    hint: hints.noSuchDevice(),
  });
}

/** Why the kernel put two functions into one group (pci_device_group): what lacks ACS on their way up. */
function sharingReasons(
  nodes: ReadonlyMap<string, TopologyNode>,
  first: TopologyNode,
  second: TopologyNode,
): string[] {
  const reasons: string[] = [];
  const slot = ({ bdf }: TopologyNode) => bdf.slice(0, bdf.lastIndexOf('.'));
  if (slot(first) === slot(second)) {
    const lacking = [first, second].filter(({ acs }) => acs !== 'isolates').map(({ bdf }) => bdf);
    if (lacking.length > 0) {
      reasons.push(
        `functions of one slot can reach each other: no ACS in ${lacking.join(' and ')}`,
      );
    }
  }
  const above = new Set([...pathUp(nodes, first), ...pathUp(nodes, second)]);
  for (const bridge of above) {
    if (bridge.acs === 'off') reasons.push(`ACS of ${bridge.bdf} above is off`);
    else if (bridge.acs === null && bridge.portType !== null)
      reasons.push(`${bridge.bdf} above (${bridge.portType}) has no ACS`);
    else if (bridge.portType === null)
      reasons.push(
        `${bridge.bdf} above shows no PCI Express: DMA below it has the bridge's own id`,
      );
  }
  return reasons;
}

function pathUp(nodes: ReadonlyMap<string, TopologyNode>, node: TopologyNode): TopologyNode[] {
  const parent = node.parent === null ? undefined : nodes.get(node.parent);
  return parent ? [parent, ...pathUp(nodes, parent)] : [];
}
