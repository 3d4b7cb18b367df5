/** The tree as text, DOT (Graphviz) and Mermaid; groups are areas in the last two. */
import { labelOf, lineOf } from './label';
import { byGroup, sharedGroups } from './sharing';
import { flatten, isVf, type TopologyNode } from './tree';

export function textDiagram(roots: readonly TopologyNode[]): string {
  const lines = (nodes: readonly TopologyNode[], indent: string): string[] =>
    nodes.flatMap((node, i) => {
      const last = i === nodes.length - 1;
      const own = `${indent}${last ? '└─' : '├─'} ${lineOf(node)}  [${labelOf(node).group}]`;
      return [own, ...lines(node.children, `${indent}${last ? '   ' : '│  '}`)];
    });
  const shared = [...sharedGroups(roots)].flatMap(([group, { reasons }]) => [
    `group ${group} goes to one owner:`,
    ...reasons.map((reason) => `  ${reason}`),
  ]);
  return [...lines(roots, ''), ...shared].map((line) => `${line}\n`).join('');
}

const key = (bdf: string) => `n${bdf.replace(/[^0-9a-f]/g, '_')}`;

export function dotDiagram(roots: readonly TopologyNode[]): string {
  const nodes = flatten(roots);
  const quoted = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`;
  const shared = sharedGroups(roots);
  const areas = [...byGroup(nodes)].flatMap(([group, members]) => {
    const rows = members.map((node) => `    ${key(node.bdf)} [label=${quoted(lineOf(node))}];`);
    if (group === null) return rows;
    const title = [`IOMMU group ${group}`, ...(shared.get(group)?.reasons ?? [])];
    const label = title.map((line) => quoted(line).slice(1, -1)).join('\\n');
    return [`  subgraph cluster_${group} {`, `    label="${label}";`, ...rows, '  }'];
  });
  const arrows = nodes.flatMap(({ bdf, children }) =>
    children.map(
      (child) => `  ${key(bdf)} -> ${key(child.bdf)}${isVf(child) ? ' [style=dotted]' : ''};`,
    ),
  );
  return `${['digraph pci {', '  rankdir=LR;', '  node [shape=box];', ...areas, ...arrows, '}'].join('\n')}\n`;
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
  const shared = sharedGroups(roots);
  const areas = [...byGroup(nodes)].flatMap(([group, members]) => {
    const rows = members.map((node) => `    ${key(node.bdf)}[${quoted(lineOf(node))}]`);
    if (group === null) return rows;
    const title = [`IOMMU group ${group}`, ...(shared.get(group)?.reasons ?? [])];
    const label = title.map((line) => quoted(line).slice(1, -1)).join('<br>');
    return [`  subgraph g${group} ["${label}"]`, ...rows, '  end'];
  });
  const arrows = nodes.flatMap(({ bdf, children }) =>
    children.map((child) => `  ${key(bdf)} ${isVf(child) ? '-.->' : '-->'} ${key(child.bdf)}`),
  );
  return `${['flowchart LR', ...areas, ...arrows].join('\n')}\n`;
}
