import { Command, Option } from 'commander';
import { printable } from '../printable';
import { dotDiagram, mermaidDiagram, textDiagram } from '../topology/diagram';
import { htmlPage } from '../topology/html';
import { canSplit } from '../topology/split';
import { svgPicture } from '../topology/svg';
import { readTopology } from '../topology/tree';
import { jsonText, type Output } from './output';
import { run, status } from './run';

const formats = {
  text: textDiagram,
  dot: dotDiagram,
  mermaid: mermaidDiagram,
  svg: svgPicture,
  html: htmlPage,
} as const;

interface TopologyFlags {
  format: keyof typeof formats;
  split?: true;
  json?: true;
}

/** `vfio topology`: the tree of PCI functions with their groups. */
export function topologyCommand(output: Output = process.stdout): Command {
  return new Command('topology')
    .description('draw bridges, functions and IOMMU groups; or tell whether two can be split')
    .argument('[BDF...]', 'with --split: two PCI addresses')
    .addOption(
      new Option('--format <FORMAT>', 'how to draw').choices(Object.keys(formats)).default('text'),
    )
    .option('--split', 'can these two have different owners? exit 0 yes, 2 no')
    .option('--json', 'as JSON')
    .action((bdfs: string[], { format, split, json }: TopologyFlags, command: Command) => {
      if (bdfs.length !== (split ? 2 : 0)) command.error('vfio: --split takes two addresses');
      return run({ output, json }, () => {
        const roots = readTopology();
        if (!split) {
          output.write(json ? jsonText(roots) : formats[format](roots));
          return status.ok;
        }
        const answer = canSplit(roots, bdfs[0]!, bdfs[1]!);
        const text = [
          answer.possible ? 'yes' : 'no',
          ...answer.reasons.map((why) => `  ${printable(why)}`),
        ];
        output.write(json ? jsonText(answer) : `${text.join('\n')}\n`);
        return answer.possible ? status.ok : status.blocked;
      });
    });
}
