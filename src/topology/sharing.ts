/** IOMMU groups, and why the kernel put several functions into one. */
import { flatten, type TopologyNode } from './tree';

/** Nodes by their group, in the order of the groups' first members; null holds those without one. */
export function byGroup(nodes: readonly TopologyNode[]): Map<number | null, TopologyNode[]> {
  return groupedBy(nodes, ({ iommuGroup }) => iommuGroup);
}

function groupedBy<Key, Value>(
  values: readonly Value[],
  keyOf: (value: Value) => Key,
): Map<Key, Value[]> {
  const groups = new Map<Key, Value[]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group) group.push(value);
    else groups.set(key, [value]);
  }
  return groups;
}

/**
 * What lacks ACS in the functions themselves and on their way up (pci_device_group in
 * drivers/iommu/iommu.c), one sentence each.
 */
export function sharingReasons(
  roots: readonly TopologyNode[],
  members: readonly TopologyNode[],
): string[] {
  const nodes = new Map(flatten(roots).map((node) => [node.bdf, node]));
  const above = new Set(members.flatMap((member) => pathUp(nodes, member)));
  const found = [...slotReasons(members), ...[...above].flatMap(bridgeReason)];
  if (found.length > 0) return found;
  return ['config space does not show why: a quirk of the kernel for these devices, or an alias'];
}

/** Groups that go to one owner though they are several functions, and why. */
export function sharedGroups(
  roots: readonly TopologyNode[],
): Map<number, { readonly members: readonly TopologyNode[]; readonly reasons: readonly string[] }> {
  const groups = [...byGroup(flatten(roots))].flatMap(([group, members]) => {
    const several = members.length > 1 && members.some(({ readiness }) => readiness !== 'bridge');
    if (group === null || !several) return [];
    return [[group, { members, reasons: sharingReasons(roots, members) }] as const];
  });
  return new Map(groups);
}

function slotReasons(members: readonly TopologyNode[]): string[] {
  const slots = groupedBy(members, ({ bdf }) => bdf.slice(0, bdf.lastIndexOf('.')));
  return [...slots.values()].flatMap((functions) => {
    const open = functions.filter(({ acs }) => acs !== 'isolates' && acs !== 'quirk');
    if (functions.length < 2 || open.length === 0) return [];
    const unread = open.filter(({ restricted }) => restricted);
    const names = (nodes: readonly TopologyNode[]) => nodes.map(({ bdf }) => bdf).join(' and ');
    if (unread.length > 0)
      return [`the capabilities of ${names(unread)} could not be read: try as root`];
    const [off, lacking] = [
      open.filter(({ acs }) => acs === 'off'),
      open.filter(({ acs }) => acs !== 'off'),
    ];
    const why = [
      ...(off.length > 0 ? [`ACS is off in ${names(off)}`] : []),
      ...(lacking.length > 0 ? [`no ACS in ${names(lacking)}`] : []),
    ];
    return [`functions of one slot can reach each other: ${why.join(', ')}`];
  });
}

function bridgeReason({ bdf, acs, portType, restricted }: TopologyNode): string[] {
  if (restricted) return [`the capabilities of ${bdf} above could not be read: try as root`];
  if (acs === 'off') return [`ACS of ${bdf} above is off`];
  if (portType === null) {
    return [`${bdf} above shows no PCI Express: DMA below it has the bridge's own id`];
  }
  return acs === 'lacking' ? [`${bdf} above (${portType}) has no ACS`] : [];
}

function pathUp(nodes: ReadonlyMap<string, TopologyNode>, node: TopologyNode): TopologyNode[] {
  // A set, as links can make a device its own parent.
  const path = new Set<TopologyNode>();
  for (let at = node; at.parent !== null; ) {
    const parent = nodes.get(at.parent);
    if (!parent || path.has(parent)) break;
    path.add(parent);
    at = parent;
  }
  return [...path];
}
