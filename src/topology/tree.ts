/** PCI functions as a tree: what is below which bridge, in which IOMMU group, isolated or not. */
import { realpathSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { type CapabilityOf, findCapability } from '../pci/config/decode';
import { readConfigSpace } from '../pci/config/read';
import { readPciNames } from '../pci/ids';
import { describeDevice, type ListedDevice, pciDevices } from '../pci/inventory';

export interface TopologyNode extends ListedDevice {
  /** The bridge above it; null on a root bus. */
  readonly parent: string | null;
  readonly children: readonly TopologyNode[];
  /** Type of PCI Express port; null for conventional PCI, and where config space is not readable. */
  readonly portType: string | null;
  /** Whether it keeps peer-to-peer DMA from going past the IOMMU; null if it has no ACS. */
  readonly acs: 'isolates' | 'off' | null;
}

/** Bits that the kernel asks for (REQ_ACS_FLAGS of drivers/iommu/iommu.c), where the port has them. */
const required = [
  'sourceValidation',
  'requestRedirect',
  'completionRedirect',
  'upstreamForwarding',
] as const;

function acsOf(acs: CapabilityOf<'acs'> | undefined): TopologyNode['acs'] {
  if (!acs) return null;
  const lacking = required.some((bit) => acs.capabilities[bit] && !acs.control[bit]);
  return lacking ? 'off' : 'isolates';
}

function expressPart(bdf: string): Pick<TopologyNode, 'portType' | 'acs'> {
  try {
    const config = readConfigSpace(bdf);
    const portType = findCapability(config, 'pcie')?.portType ?? null;
    return { portType, acs: acsOf(findCapability(config, 'acs')) };
  } catch {
    // Not readable: then nothing is known of it.
    return { portType: null, acs: null };
  }
}

function parentOf(path: string): string | null {
  try {
    const name = basename(dirname(realpathSync(path)));
    return name.startsWith('pci') ? null : name;
  } catch {
    return null;
  }
}

/** The functions on root buses, the others below them. */
export function readTopology(): TopologyNode[] {
  const names = readPciNames();
  const below = new Map<string | null, TopologyNode[]>();
  const nodes = pciDevices().map((pci) => {
    const children: TopologyNode[] = [];
    below.set(pci.bdf, children);
    const parent = parentOf(pci.path);
    return { ...describeDevice(pci, names), parent, children, ...expressPart(pci.bdf) };
  });
  const roots: TopologyNode[] = [];
  for (const node of nodes) (below.get(node.parent) ?? roots).push(node);
  return roots;
}

/** All nodes, a bridge before what is below it. */
export function flatten(nodes: readonly TopologyNode[]): TopologyNode[] {
  return nodes.flatMap((node) => [node, ...flatten(node.children)]);
}
