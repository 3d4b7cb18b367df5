/**
 * The drivers that docs/lab-guide.md prints do what it says.
 *
 * @kernel stock
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bound, findDevice } from './lab-devices';

const guide = readFileSync(join(__dirname, '../../docs/lab-guide.md'), 'utf8');

/** The only block of the guide in that language that has more than some lines. */
function program(language: string): string {
  const blocks = [...guide.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))];
  const [longest] = blocks.map(([, code]) => code!).sort((a, b) => b.length - a.length);
  return longest!;
}

bound('edu');

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'lab-guide-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { cwd: directory, encoding: 'utf8' });
}

test('edu.c', () => {
  writeFileSync(join(directory, 'edu.c'), program('c'));
  run('gcc', '-O2', '-Wall', '-Wextra', '-Werror', '-o', 'edu', 'edu.c');
  expect(run('./edu', findDevice('edu').bdf)).toBe('id 010000ed, 10! = 3628800\n');
});

test('edu.py', () => {
  writeFileSync(join(directory, 'edu.py'), program('python'));
  expect(run('python3', 'edu.py', findDevice('edu').bdf)).toBe('id 010000ed, 10! = 3628800\n');
});
