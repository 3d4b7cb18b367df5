/** A page of its own: the picture, and what each group means for who gets what. */
import { hints } from '../hints';
import { acsOverride } from '../pci/kernel-files';
import { lineOf } from './label';
import { markup } from './markup';
import { byGroup, sharingReasons } from './sharing';
import { svgPicture } from './svg';
import { flatten, lacksIommu, type TopologyNode } from './tree';

/** Self-contained, and without scripts. */
export function htmlPage(roots: readonly TopologyNode[]): string {
  const groups = byGroup(flatten(roots));
  const rows = [...groups].map(([group, members]) => {
    const cells = [
      group === null ? 'none' : String(group),
      list(members.map(lineOf)),
      verdict(roots, group, members),
    ];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
  });
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>PCI functions and their IOMMU groups</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #b6bec8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --paper: #0f1318; --line: #4b5663; } }
body { font: 15px/1.45 system-ui, 'DejaVu Sans', sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; margin-top: 1rem; }
th, td { border-top: 1px solid var(--line); padding: .5rem .75rem; text-align: left; vertical-align: top; overflow-wrap: break-word; }
th, td:first-child { white-space: nowrap; }
ul { margin: 0; padding-left: 1.1rem; }
</style>
</head>
<body>
${svgPicture(roots)}
<table>
<thead><tr><th>Group</th><th>Functions</th><th>Who can have them</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>
${caveat()}</body>
</html>
`;
}

function verdict(
  roots: readonly TopologyNode[],
  group: number | null,
  members: readonly TopologyNode[],
): string {
  if (group === null || members.some(lacksIommu)) {
    return 'No IOMMU is in front of them: none can be given away safely. <code>vfio doctor</code> tells why.';
  }
  if (members.every(({ readiness }) => readiness === 'bridge')) return 'The kernel keeps bridges.';
  if (members.length === 1) return 'An owner of its own.';
  return `One owner for all, because:${list(sharingReasons(roots, members))}`;
}

function caveat(): string {
  const override = acsOverride();
  return override
    ? `<p><code>${markup(override)}</code>: ${markup(hints.acsOverride())}.</p>\n`
    : '';
}

function list(lines: readonly string[]): string {
  return `<ul>${lines.map((line) => `<li>${markup(line)}</li>`).join('')}</ul>`;
}
