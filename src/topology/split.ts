/** Whether two devices can be given to different owners. */
import { VfioError } from '../errors';
import { hints } from '../hints';
import { parseBdf } from '../pci/address';
import { acsOverride } from '../pci/kernel-files';
import { sharingReasons } from './sharing';
import { flatten, isVf, lacksIommu, type TopologyNode } from './tree';

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
  const without = [first, second].filter(lacksIommu);
  if (without.length > 0) {
    const reasons = without.map(({ bdf, iommuGroup }) =>
      iommuGroup === null
        ? `${bdf} is in no IOMMU group: no IOMMU is in front of it`
        : `IOMMU group ${iommuGroup} of ${bdf} is one without an IOMMU (vfio-noiommu)`,
    );
    return { possible: false, reasons };
  }
  if (first.iommuGroup === second.iommuGroup) {
    const reasons = sharingReasons(roots, [first, second]);
    return {
      possible: false,
      reasons: [`both are in IOMMU group ${first.iommuGroup}`, ...reasons],
    };
  }
  const reasons = [
    `their IOMMU groups, ${first.iommuGroup} and ${second.iommuGroup}, are isolated`,
  ];
  const override = acsOverride();
  if (override) reasons.push(`but ${override} is on the command line: ${hints.acsOverride()}`);
  const vf = [first, second].find(isVf);
  if (vf) {
    reasons.push(`${vf.bdf} is a VF: the owner of ${vf.sriov.pf}, its PF, can reset and remove it`);
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
