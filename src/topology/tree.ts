/** PCI functions as a tree: what is below which bridge, in which IOMMU group, isolated or not. */
import { decodeConfigSpace, findCapability } from '../pci/config/decode';
import { readConfigBytes } from '../pci/config/read';
import { readPciNames } from '../pci/ids';
import { describeDevice, describeDevices, type ListedDevice } from '../pci/inventory';
import { acsOverride } from '../pci/kernel-files';
import { bridgeAbove } from '../pci/sysfs';
import { type Acs, acsOf, isQuirk } from './acs';

export interface TopologyNode extends ListedDevice {
  /** The bridge above it; null on a root bus. */
  readonly parent: string | null;
  /** What is on its buses; the VFs of a PF are with the PF. */
  readonly children: readonly TopologyNode[];
  /** Type of PCI Express port; null for conventional PCI, and where config space is not readable. */
  readonly portType: string | null;
  /**
   * Whether it keeps peer-to-peer DMA from going past the IOMMU: by ACS, which is on, off or lacking, or
   * in a way of its own that the kernel knows. null where nothing depends on it: a device of one
   * function, conventional PCI.
   */
  readonly acs: Acs | null;
  /** Its capabilities could not be read: the kernel gives them to root only. */
  readonly restricted: boolean;
}

/** What the kernel gives of config space without CAP_SYS_ADMIN. */
const HEADER_SIZE = 64;

function expressPart(bdf: string): Pick<TopologyNode, 'portType' | 'acs' | 'restricted'> {
  try {
    const bytes = readConfigBytes(bdf);
    const config = decodeConfigSpace(bytes);
    const portType = findCapability(config, 'pcie')?.portType ?? null;
    return { portType, acs: acsOf(config, portType), restricted: bytes.length <= HEADER_SIZE };
  } catch {
    return { portType: null, acs: null, restricted: true };
  }
}

/** Nothing limits its DMA, so that who has it can reach all memory. */
export function lacksIommu({ iommuGroup, readiness }: TopologyNode): boolean {
  return iommuGroup === null || readiness === 'unprotected';
}

/** Drawn below its PF, not below the bridge that both are behind. */
export function isVf<Node extends Pick<TopologyNode, 'sriov'>>(
  node: Node,
): node is Node & { readonly sriov: { readonly role: 'vf'; readonly pf: string } } {
  return node.sriov?.role === 'vf';
}

/** The functions on root buses, the others below their bridges and PFs. */
export function readTopology(): TopologyNode[] {
  const names = readPciNames();
  const below = new Map<string | null, TopologyNode[]>();
  const nodes = describeDevices((pci): TopologyNode & { acs: Acs | null } => {
    const children: TopologyNode[] = [];
    below.set(pci.bdf, children);
    const parent = bridgeAbove(pci.path) ?? null;
    return { ...describeDevice(pci, names), parent, children, ...expressPart(pci.bdf) };
  });
  const pfs = new Set(nodes.filter((node) => !isVf(node)).map(({ bdf }) => bdf));
  const above = new Map(
    nodes.map((node) => [
      node.bdf,
      isVf(node) && pfs.has(node.sriov.pf) ? node.sriov.pf : node.parent,
    ]),
  );
  const roots: TopologyNode[] = [];
  const quirks = acsOverride() === undefined ? nodes.filter((node) => isQuirk(node, nodes)) : [];
  for (const node of quirks) node.acs = 'quirk';
  for (const node of nodes) {
    const parent = isBelowItself(node.bdf, above) ? null : above.get(node.bdf)!;
    (below.get(parent) ?? roots).push(node);
  }
  return roots;
}

/** As links can say: what is drawn below itself would not be drawn at all. */
function isBelowItself(bdf: string, above: ReadonlyMap<string, string | null>): boolean {
  const seen = new Set<string>();
  let at = above.get(bdf);
  while (at && at !== bdf && !seen.has(at)) {
    seen.add(at);
    at = above.get(at);
  }
  return at === bdf;
}

/** All nodes, each before what is below it. */
export function flatten(nodes: readonly TopologyNode[]): TopologyNode[] {
  return nodes.flatMap((node) => [node, ...flatten(node.children)]);
}
