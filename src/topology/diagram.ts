/** The tree as text, DOT (Graphviz) and Mermaid; groups are areas in the last two. */
import { printable } from '../printable';
import { flatten, type TopologyNode } from './tree';

/** What one line says of a function. */
export function label(node: TopologyNode): string {
  const { bdf, sriov } = node;
  const name = node.deviceName ?? node.className ?? 'unknown';
  const acs = node.acs === null ? '' : node.acs === 'off' ? ', ACS off' : ', ACS';
  const role =
    sriov === null
      ? ''
      : sriov.role === 'pf'
        ? `, PF ${sriov.numVfs}/${sriov.totalVfs}`
        : `, VF ${sriov.index} of ${sriov.pf}`;
  return printable(`${bdf} ${name} (${node.driver ?? 'no driver'}${role}${acs})`);
}

export function textDiagram(roots: readonly TopologyNode[]): string {
  const lines = (nodes: readonly TopologyNode[], indent: string): string[] =>
    nodes.flatMap((node, i) => {
      const last = i === nodes.length - 1;
      const group = node.iommuGroup === null ? 'no group' : `group ${node.iommuGroup}`;
      const own = `${indent}${last ? '└─' : '├─'} ${label(node)}  [${group}]`;
      return [own, ...lines(node.children, `${indent}${last ? '   ' : '│  '}`)];
    });
  return lines(roots, '')
    .map((line) => `${line}\n`)
    .join('');
}

const key = (bdf: string) => `n${bdf.replace(/[^0-9a-f]/g, '_')}`;

function byGroup(nodes: readonly TopologyNode[]): Map<number | null, TopologyNode[]> {
  const groups = new Map<number | null, TopologyNode[]>();
  for (const node of nodes) {
    groups.set(node.iommuGroup, [...(groups.get(node.iommuGroup) ?? []), node]);
  }
  return groups;
}

export function dotDiagram(roots: readonly TopologyNode[]): string {
  const nodes = flatten(roots);
  const quoted = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`;
  const areas = [...byGroup(nodes)].flatMap(([group, members]) => {
    const rows = members.map((node) => `    ${key(node.bdf)} [label=${quoted(label(node))}];`);
    if (group === null) return rows;
    return [`  subgraph cluster_${group} {`, `    label="IOMMU group ${group}";`, ...rows, '  }'];
  });
  const edges = nodes
    .filter(({ parent }) => parent !== null)
    .map(({ bdf, parent }) => `  ${key(parent!)} -> ${key(bdf)};`);
  return `${['digraph pci {', '  rankdir=LR;', '  node [shape=box];', ...areas, ...edges, '}'].join('\n')}\n`;
}

export function mermaidDiagram(roots: readonly TopologyNode[]): string {
  const nodes = flatten(roots);
  const entities: Readonly<Record<string, string>> = {
    '"': '#quot;',
    '<': '#lt;',
    '>': '#gt;',
    '#': '#35;',
  };
  const quoted = (text: string) => `"${text.replace(/["<>#]/g, (char) => entities[char]!)}"`;
  const areas = [...byGroup(nodes)].flatMap(([group, members]) => {
    const rows = members.map((node) => `    ${key(node.bdf)}[${quoted(label(node))}]`);
    if (group === null) return rows;
    return [`  subgraph g${group} [IOMMU group ${group}]`, ...rows, '  end'];
  });
  const edges = nodes
    .filter(({ parent }) => parent !== null)
    .map(({ bdf, parent }) => `  ${key(parent!)} --> ${key(bdf)}`);
  return `${['flowchart LR', ...areas, ...edges].join('\n')}\n`;
}
