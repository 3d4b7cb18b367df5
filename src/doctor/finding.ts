/** What `vfio doctor` says: one fact each, with the file it was read from and what to do. */
import { printable } from '../printable';

export type Finding = Seen & (Well | Ill);

interface Seen {
  /** Stable, for scripts: `iommu-off-kernel`. */
  readonly id: string;
  /** Where it was seen: `/proc/cmdline: ro quiet`. */
  readonly evidence: string;
  readonly meaning: string;
}

interface Well {
  readonly level: 'ok';
  /** What can be had beyond that. */
  readonly fix: Fix | null;
}

interface Ill {
  readonly level: 'warning' | 'blocked';
  readonly fix: Fix;
}

export interface Fix {
  readonly text: string;
  /** Lines of a shell script for root; empty where no command does it (firmware settings). */
  readonly commands: readonly string[];
  /** Commands that cost something, security or data: comments in the script, for a person to decide. */
  readonly byHand?: readonly string[];
  readonly risk: string;
  readonly reboot: boolean;
}

export function ok(id: string, evidence: string, meaning: string): Finding {
  return { id, level: 'ok', evidence, meaning, fix: null };
}

/** Whether user-space drivers work here: no finding that blocks, and whether there are warnings. */
export function verdict(findings: readonly Finding[]): Finding['level'] {
  if (findings.some(({ level }) => level === 'blocked')) return 'blocked';
  return findings.some(({ level }) => level === 'warning') ? 'warning' : 'ok';
}

/** A script of the fixes; what no command can do, or a person has to decide, is a comment in it. */
export function fixScript(findings: readonly Finding[]): string {
  const parts = findings.flatMap(({ id, level, fix }) => {
    if (fix === null || level === 'ok') return [];
    const reboot = fix.reboot ? ', then reboot' : '';
    const comments = [`# ${id}: ${fix.text}${reboot}`, `# risk: ${fix.risk}`];
    // A line break in a name from sysfs would end the comment.
    return [
      ...comments.map((line) => line.replace(/\s+/g, ' ')),
      ...(fix.byHand ?? []).map((command) => `# ${printable(command)}`),
      ...fix.commands.map(printable),
      '',
    ];
  });
  return `${['#!/bin/sh', 'set -eu', '', ...parts].join('\n').trimEnd()}\n`;
}
