/** Access Control Services: whether a port or function keeps its neighbours' DMA from each other. */
import { type ConfigSpace, findCapability } from '../pci/config/decode';
import type { TopologyNode } from './tree';

export type Acs = 'isolates' | 'off' | 'lacking' | 'quirk';

/** Bits that the kernel asks for (REQ_ACS_FLAGS of drivers/iommu/iommu.c), where the port has them. */
const required = [
  'sourceValidation',
  'requestRedirect',
  'completionRedirect',
  'upstreamForwarding',
] as const;

/** As pci_acs_enabled of drivers/pci/pci.c has it. */
export function acsOf(config: ConfigSpace, portType: string | null): Acs | null {
  const acs = findCapability(config, 'acs');
  if (acs) {
    const lacking = required.some((bit) => acs.capabilities[bit] && !acs.control[bit]);
    return lacking ? 'off' : 'isolates';
  }
  const isPort = portType === 'root-port' || portType === 'downstream-port';
  return isPort || (portType !== null && config.header.multiFunction) ? 'lacking' : null;
}

/**
 * Config space shows no ACS, and still the kernel keeps apart what is below the port, or in the slot:
 * it knows devices that isolate without, such as ports of Intel's PCHs (drivers/pci/quirks.c).
 */
export function isQuirk(node: TopologyNode, all: readonly TopologyNode[]): boolean {
  if (node.acs !== 'lacking' || node.iommuGroup === null) return false;
  const slot = (bdf: string) => bdf.slice(0, bdf.lastIndexOf('.'));
  const near = all.filter(
    ({ bdf, parent }) => bdf !== node.bdf && (parent === node.bdf || slot(bdf) === slot(node.bdf)),
  );
  const apart = near.every(
    ({ iommuGroup }) => iommuGroup !== null && iommuGroup !== node.iommuGroup,
  );
  return near.length > 0 && apart;
}
