/** What every kind of diagram says of a function, fit for a terminal. */
import { printable } from '../printable';
import type { TopologyNode } from './tree';

export interface Label {
  /** `group 7`, `no group`. */
  readonly group: string;
  readonly name: string;
  /** `igb`, `no driver`. */
  readonly driver: string;
  /** `PF 2/7`, `VF 1 of 0000:03:00.0`; empty for a function without SR-IOV. */
  readonly role: string;
  /** `root port`, `downstream port`; empty for what is no port of PCI Express. */
  readonly port: string;
  /** `ACS`, `ACS off`, `no ACS`; empty where nothing depends on it. */
  readonly acs: string;
}

const acsTexts = {
  isolates: 'ACS',
  off: 'ACS off',
  lacking: 'no ACS',
  quirk: 'ACS by quirk',
} as const;

export function labelOf({ sriov, acs, ...node }: TopologyNode): Label {
  const roleOf = () => {
    if (sriov === null) return '';
    if (sriov.role === 'pf') return `PF ${sriov.numVfs}/${sriov.totalVfs}`;
    return `VF ${sriov.index} of ${sriov.pf}`;
  };
  const groupOf = () => {
    if (node.iommuGroup === null) return 'no group';
    return `group ${node.iommuGroup}${node.readiness === 'unprotected' ? ', no IOMMU' : ''}`;
  };
  return {
    group: groupOf(),
    name: printable(node.deviceName ?? node.className ?? 'unknown'),
    driver: printable(node.driver ?? 'no driver'),
    role: printable(roleOf()),
    port: node.portType?.endsWith('-port') ? node.portType.replace('-', ' ') : '',
    acs: acs === null ? '' : acsTexts[acs],
  };
}

/** `0000:00:01.1 PCI bridge (pcieport, ACS off)`. */
export function lineOf(node: TopologyNode): string {
  const { name, driver, port, role, acs } = labelOf(node);
  return `${node.bdf} ${name} (${[driver, port, role, acs].filter((part) => part !== '').join(', ')})`;
}
