/** The completion scripts, run by the shells themselves. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { completionCommand } from '../../src/cli/completion';
import { commandNames, loadProgram } from '../../src/cli/program';
import { runCommand } from './run-command';

jest.mock('../../src/native', () => require('./fake-native'));

const root = mkdtempSync(join(tmpdir(), 'vfio-completion-'));
const devices = join(root, 'devices');
const addresses = ['0000:00:01.0', '0000:03:00.0', '0000:03:00.1'];
for (const bdf of addresses) mkdirSync(join(devices, bdf), { recursive: true });
writeFileSync(join(root, 'map.json'), '{}');
afterAll(() => rmSync(root, { recursive: true }));

async function script(shell: string): Promise<string> {
  const command = (output: Parameters<typeof completionCommand>[1]) =>
    completionCommand(() => loadProgram(undefined), output);
  const { out, err, status } = await runCommand(command, shell);
  expect([status, err]).toEqual([0, '']);
  const file = join(root, `vfio.${shell}`);
  writeFileSync(file, out.replaceAll('/sys/bus/pci/devices', devices));
  return file;
}

/** A line, and all that can follow it. */
const expected: readonly (readonly [line: string, answers: readonly string[]])[] = [
  ['vfio topo', ['topology']],
  ['vfio lab ker', ['kernel']],
  ['vfio lab kernel --up', ['--update']],
  ['vfio topology --format s', ['svg']],
  ['vfio topology --sp', ['--split']],
  ['vfio info 0000:03:', ['0000:03:00.0', '0000:03:00.1']],
  ['vfio bind 0000:03:00.0 ', addresses],
  ['vfio bind --driver vfio-pci 0000:0', addresses],
  ['vfio regs ', addresses],
  ['vfio regs --offset 8 0000:00', ['0000:00:01.0']],
  ['vfio regs 0000:03:00.0 vg', ['vga']],
  ['vfio regs 0000:03:00.0 config --unsafe', ['--unsafe-read']],
  ['vfio uapi --probe 0000:00', ['0000:00:01.0']],
  [`vfio regs --map ${root}/map`, [`${root}/map.json`]],
  ['vfio completion z', ['zsh']],
  ['vfio list --driver v', []],
];

describe('bash', () => {
  /** What readline would put in place of the word that it sees, which begins after the last colon. */
  function complete(file: string, line: string, wordBreaks = ' \t\n"\'><=;|&(:'): string[] {
    const args = ['--norc', '-c', bashProgram, 'bash', file, line, wordBreaks];
    return execFileSync('bash', args, { encoding: 'utf8' }).trim().split('\n').filter(Boolean);
  }

  test('commands, options, choices, addresses and files', async () => {
    const file = await script('bash');
    for (const [line, answers] of expected) {
      expect([line, complete(file, line, ' \t\n')]).toEqual([line, answers]);
    }
    expect(complete(file, 'vfio ')).toEqual(expect.arrayContaining([...commandNames, '--version']));
    expect(complete(file, 'vfio topology --format=m')).toEqual(['mermaid']);
    expect(complete(file, `vfio lab -- ${root}/ma`)).toEqual([`${root}/map.json`]);
  });

  test('a colon ends a word of bash', async () => {
    const file = await script('bash');
    expect(complete(file, 'vfio info 0000:03:')).toEqual(['00.0', '00.1']);
    expect(complete(file, 'vfio info 0000')).toEqual(addresses);
  });
});

const bashProgram = `
source "$1"
COMP_LINE=$2 COMP_POINT=\${#2} COMP_WORDBREAKS=$3
_vfio 2>&1
printf '%s\\n' "\${COMPREPLY[@]}"
`;

const installed = (shell: string) => spawnSync(shell, ['-c', 'true']).status === 0;

describe('fish', () => {
  if (!installed('fish')) {
    test.skip('fish is not installed', () => {});
    return;
  }
  test('commands, options, choices, addresses and files', async () => {
    const file = await script('fish');
    for (const [line, answers] of expected) {
      const args = ['--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', file, line];
      const out = execFileSync('fish', args, { encoding: 'utf8', cwd: root });
      const words = out.split('\n').map((row) => row.split('\t')[0]);
      expect([line, words.filter(Boolean)]).toEqual([line, answers]);
    }
  });
});

describe('zsh', () => {
  if (!installed('zsh')) {
    test.skip('zsh is not installed', () => {});
    return;
  }
  test('a terminal of its own completes the words that have one answer', async () => {
    const file = await script('zsh');
    execFileSync('zsh', ['-n', file]);
    const single = expected.filter(([, answers]) => answers.length === 1);
    for (const [line, [answer]] of single) {
      const out = execFileSync('zsh', ['-f', '-c', zshTerminal, 'zsh', file, line], {
        encoding: 'utf8',
      });
      const words = line.split(' ');
      expect(out.trim()).toBe([...words.slice(0, -1), answer].join(' '));
    }
  });
});

/** Presses the tabulator at the end of $2, and prints the line that is there then. */
const zshTerminal = `
zmodload zsh/zpty
zpty terminal zsh -f -i
zpty -w terminal 'autoload -Uz compinit; compinit -C -u -d '\${(q)1}.dump'; source '\${(q)1}
zpty -w terminal 'show() { print -r -- "<<$BUFFER>>"; exit }; zle -N show; bindkey "^X" show'
zpty -w -n terminal "$2"$'\\t\\C-x'
text=
while zpty -r terminal chunk; do text+=$chunk; done
[[ $text =~ '<<(vfio [^>]*)>>' ]] && print -r -- $match[1]
`;
