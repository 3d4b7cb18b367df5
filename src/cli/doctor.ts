import { Command } from 'commander';
import { examine } from '../doctor/examine';
import { type Finding, fixScript, verdict } from '../doctor/finding';
import { printable, printableLines } from '../printable';
import { type Colours, coloursFor, jsonText, type Output } from './output';
import { run, status } from './run';

const statuses = { ok: status.ok, warning: status.failed, blocked: status.blocked } as const;

/** `vfio doctor [BDF]`: what stands between this machine, or a device, and a user-space driver. */
export function doctorCommand(output: Output = process.stdout): Command {
  return new Command('doctor')
    .description(
      'find what keeps user-space drivers from working; exit 0 ready, 1 warnings, 2 blocked, 3 not examined',
    )
    .exitOverride(({ exitCode }) => process.exit(exitCode && status.notExamined))
    .argument('[BDF]', 'also examine this device')
    .option('--fix', 'print a script of the fixes; nothing is changed')
    .option('--json', 'as a JSON array')
    .action((bdf: string | undefined, { fix, json }: { fix?: true; json?: true }) =>
      run({ output, json, failure: status.notExamined }, () => {
        const findings = examine(bdf);
        if (json) output.write(jsonText(findings));
        else if (fix) output.write(printableLines(fixScript(findings)));
        else output.write(findings.map((found) => findingText(found, coloursFor(output))).join(''));
        return statuses[verdict(findings)];
      }),
    );
}

function findingText({ id, level, meaning, evidence, fix }: Finding, colours: Colours): string {
  const paint = { ok: colours.green, warning: colours.yellow, blocked: colours.red }[level];
  const lines = [`${paint(level.padEnd(7))}  ${id}: ${printable(meaning)}`];
  lines.push(`         seen: ${printable(evidence)}`);
  if (fix) {
    lines.push(`         fix:  ${printable(fix.text)}${fix.reboot ? ' (needs a reboot)' : ''}`);
    lines.push(...fix.commands.map((command) => `               $ ${printable(command)}`));
    const byHand = fix.byHand ?? [];
    lines.push(...byHand.map((command) => `         by hand: $ ${printable(command)}`));
    lines.push(`         risk: ${printable(fix.risk)}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}
