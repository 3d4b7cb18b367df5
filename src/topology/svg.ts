/** The picture: a row for each function, indented below its bridge or PF, in areas of groups. */

import { isVfioDriver } from '../pci/vfio-driver';
import { labelOf } from './label';
import { markup } from './markup';
import { sharedGroups } from './sharing';
import { isVf, lacksIommu, type TopologyNode } from './tree';

/** Lengths in pixels. */
const MARGIN = 20;
const HEADER = 74;
const GUTTER = 92;
const INDENT = 34;
const ROW = 56;
const BOX = 44;
const PADDING = 12;
const NOTE = 18;

/** Widths of a character in DejaVu, the widest of the usual fonts. */
const CHARACTER = { address: 8, name: 8, detail: 7.2 } as const;
const LONGEST_NAME = 72;
/** Enough for the legend. */
const MIN_WIDTH = 520;

interface Row {
  readonly node: TopologyNode;
  readonly depth: number;
  /** Index of the row that it hangs below. */
  readonly above: number | undefined;
}

/** Colours of areas, so that neighbours differ; light, and dark. */
const areas = [
  ['#fbe6d4', '#4a3320'],
  ['#dff0d8', '#25402a'],
  ['#e7e0f5', '#3a3155'],
  ['#fdf2c5', '#473f1b'],
  ['#d8eef2', '#1f3f47'],
  ['#f8dfe9', '#4a2a3a'],
] as const;

const shades: Readonly<Record<string, readonly [property: string, light: string, dark: string]>> = {
  paper: ['fill', '#ffffff', '#0f1318'],
  ink: ['fill', '#1b1f24', '#e8edf2'],
  faint: ['fill', '#4d5661', '#a9b4c0'],
  vfio: ['fill', '#116329', '#6fdd8b'],
  warn: ['fill', '#a40e26', '#ff9a9a'],
  alone: ['fill', '#f3f4f6', '#1a2028'],
  frame: ['stroke', '#b6bec8', '#4b5663'],
  wire: ['stroke', '#59636e', '#95a1ad'],
  function: ['fill', '#ffffff', '#20262e'],
  pf: ['fill', '#d3e6fb', '#17395f'],
  vf: ['fill', '#ecf5ff', '#152a41'],
  bridge: ['fill', '#e3e6ea', '#333b45'],
  ...Object.fromEntries(areas.map(([light, dark], i) => [`area${i}`, ['fill', light, dark]])),
};

/** Rules for the classes above, by the reader's preference; a viewer without it has the light ones. */
function styleSheet(): string {
  const rules = (shade: 1 | 2) =>
    Object.entries(shades)
      .map(([name, rule]) => `.pci .${name}{${rule[0]}:${rule[shade]}}`)
      .join('');
  return `<style>${rules(1)}@media (prefers-color-scheme:dark){${rules(2)}}</style>`;
}

/** Self-contained, and without scripts. */
export function svgPicture(roots: readonly TopologyNode[]): string {
  const rows = rowsOf(roots);
  const notes = sharingNotes(roots);
  const right =
    MARGIN +
    GUTTER +
    Math.max(
      MIN_WIDTH,
      ...rows.map(({ node, depth }) => depth * INDENT + widthOf(node)),
      ...notes.map((line) => Math.ceil(columns(line) * CHARACTER.detail) - GUTTER),
    );
  const below = HEADER + rows.length * ROW;
  const [width, height] = [right + PADDING + MARGIN, below + notes.length * NOTE + MARGIN];
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" class="pci" viewBox="0 0 ${width} ${height}" ` +
      `width="${width}" height="${height}" role="img" ` +
      `font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12">`,
    '<title>PCI functions and their IOMMU groups</title>',
    styleSheet(),
    `<rect class="paper" width="${width}" height="${height}"/>`,
    ...legend(),
    ...areaShapes(rows, right + PADDING - MARGIN),
    ...rows.flatMap((row, i) => [...wire(row, i), ...box(row, i, right)]),
    ...notes.map(
      (line, i) =>
        `<text class="ink" x="${MARGIN}" y="${below + (i + 1) * NOTE}">${markup(line)}</text>`,
    ),
    '</svg>',
  ];
  return `${parts.join('\n')}\n`;
}

/** `Group 1 goes to one owner: …`, a line for each reason. */
function sharingNotes(roots: readonly TopologyNode[]): string[] {
  return [...sharedGroups(roots)].flatMap(([group, { reasons }]) => [
    `Group ${group} goes to one owner:`,
    ...reasons.map((reason) => `\u2022 ${reason}`),
  ]);
}

function rowsOf(roots: readonly TopologyNode[]): Row[] {
  const rows: Row[] = [];
  const add = (nodes: readonly TopologyNode[], depth: number, above: number | undefined) => {
    for (const node of nodes) {
      const own = rows.push({ node, depth, above }) - 1;
      add(node.children, depth + 1, own);
    }
  };
  add(roots, 0, undefined);
  return rows;
}

const left = ({ depth }: Row) => MARGIN + GUTTER + depth * INDENT;
const top = (index: number) => HEADER + index * ROW;

function shortName(node: TopologyNode): string {
  const characters = [...labelOf(node).name];
  if (characters.length <= LONGEST_NAME) return characters.join('');
  return `${characters.slice(0, LONGEST_NAME - 1).join('')}…`;
}

/** What a box needs for its two lines. */
function widthOf(node: TopologyNode): number {
  const { driver, port, role, acs } = labelOf(node);
  const first = node.bdf.length * CHARACTER.address + columns(shortName(node)) * CHARACTER.name;
  const second = columns([driver, port, role, acs].join(' · ')) * CHARACTER.detail;
  return Math.ceil(Math.max(first + 10, second) + 2 * PADDING);
}

/** Characters from U+1100 on may be twice as wide. */
function columns(text: string): number {
  return [...text].reduce((sum, char) => sum + (char >= '\u1100' ? 2 : 1), 0);
}

function legend(): string[] {
  const lines = [
    'A coloured area is a group of several: they go to one owner together.',
    'Dashed: VFs, below their PF. Green: bound to VFIO. Red: peers can reach each other past the IOMMU.',
  ];
  const text = (line: string, i: number) =>
    `<text class="faint" x="${MARGIN}" y="${44 + i * 15}" font-size="11">${line}</text>`;
  return [
    `<text class="ink" x="${MARGIN}" y="26" font-size="16" font-weight="600">PCI functions and their IOMMU groups</text>`,
    ...lines.map(text),
  ];
}

/** One area for each run of neighbouring rows of a group: what is between may be in another. */
function areaShapes(rows: readonly Row[], width: number): string[] {
  const sizes = new Map<number | null, number>();
  for (const { node } of rows) sizes.set(node.iommuGroup, (sizes.get(node.iommuGroup) ?? 0) + 1);
  const several = [...sizes].filter(([group, size]) => group !== null && size > 1);
  const colours = new Map(several.map(([group], i) => [group, `area${i % areas.length}`]));
  const shapes: string[] = [];
  for (let first = 0; first < rows.length; ) {
    const { iommuGroup } = rows[first]!.node;
    let last = first;
    while (last + 1 < rows.length && rows[last + 1]!.node.iommuGroup === iommuGroup) last++;
    const at = `x="${MARGIN}" y="${top(first) - 4}" width="${width}" height="${(last - first) * ROW + BOX + 8}"`;
    const text = `x="${MARGIN + PADDING}" y="${top(first) + BOX / 2 + 4}"`;
    if (iommuGroup === null) {
      shapes.push(`<text class="warn" ${text}>no group</text>`);
    } else {
      const colour = colours.get(iommuGroup) ?? 'alone';
      shapes.push(`<rect class="${colour} frame" ${at} rx="8"/>`);
      shapes.push(`<text class="ink" ${text} font-weight="600">group ${iommuGroup}</text>`);
      if (lacksIommu(rows[first]!.node)) {
        const below = `x="${MARGIN + PADDING}" y="${top(first) + BOX / 2 + 18}"`;
        shapes.push(`<text class="warn" ${below} font-size="11">no IOMMU</text>`);
      }
    }
    first = last + 1;
  }
  return shapes;
}

function wire(row: Row, index: number): string[] {
  const { above, depth, node } = row;
  if (above === undefined) return [];
  const x = left({ ...row, depth: depth - 1 }) + INDENT / 2;
  const dashes = isVf(node) ? ' stroke-dasharray="4 3"' : '';
  return [
    `<path class="wire" d="M${x} ${top(above) + BOX}V${top(index) + BOX / 2}H${left(row)}" fill="none"${dashes}/>`,
  ];
}

function kindOf(node: TopologyNode): 'bridge' | 'vf' | 'pf' | 'function' {
  if (node.readiness === 'bridge') return 'bridge';
  return node.sriov?.role ?? 'function';
}

function box(row: Row, index: number, right: number): string[] {
  const { node } = row;
  const { name, driver, port, role, acs } = labelOf(node);
  const [x, y] = [left(row), top(index)];
  const nameAt = x + PADDING + node.bdf.length * CHARACTER.address + 10;
  const kind = kindOf(node);
  const dashes = kind === 'vf' ? ' stroke-dasharray="4 3"' : '';
  const driverClass = isVfioDriver(driver) ? 'vfio' : node.driver === null ? 'faint' : 'ink';
  const details = [
    [driverClass, driver],
    ['faint', port],
    ['faint', role],
    [node.acs === 'isolates' || node.acs === 'quirk' ? 'faint' : 'warn', acs],
  ].filter(([, text]) => text !== '');
  // Spaces at the ends of elements would be lost.
  const spans = details.map(([type, text], i) => {
    const dot = i === 0 ? '' : '<tspan class="faint" dx="5">·</tspan>';
    return `${dot}<tspan class="${type}" dx="${i === 0 ? 0 : 5}">${markup(text!)}</tspan>`;
  });
  return [
    `<g><title>${markup(`${node.bdf} ${name}`)}</title>`,
    `<rect class="${kind} wire" x="${x}" y="${y}" width="${right - x}" height="${BOX}" rx="6"${dashes}/>`,
    `<text class="ink" x="${x + PADDING}" y="${y + 18}" font-family="ui-monospace, 'DejaVu Sans Mono', monospace" font-size="13" font-weight="600">${node.bdf}</text>`,
    `<text class="ink" x="${nameAt}" y="${y + 18}" font-size="13">${markup(shortName(node))}</text>`,
    `<text x="${x + PADDING}" y="${y + 36}">${spans.join('')}</text></g>`,
  ];
}
