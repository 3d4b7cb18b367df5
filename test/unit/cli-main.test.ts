/** The program as a process: exit statuses, and what it prints where. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { commandNames } from '../../src/cli/program';

function vfio(args: readonly string[], stdout: 'pipe' | number = 'pipe') {
  const { status, ...texts } = spawnSync(process.execPath, [join(__dirname, 'main.cjs'), ...args], {
    stdio: ['ignore', stdout, 'pipe'],
    encoding: 'utf8',
  });
  return { status, out: texts.stdout, err: texts.stderr };
}

test('a full disk is told without a stack trace', () => {
  const full = openSync('/dev/full', 'w');
  try {
    const { status, err } = vfio(['list'], full);
    expect([status, err]).toEqual([1, 'vfio: writing output: ENOSPC\n']);
  } finally {
    closeSync(full);
  }
});

test.each(commandNames)('%s --help', (name) => {
  expect(vfio([name, '--help'])).toEqual({
    status: 0,
    out: expect.stringMatching(new RegExp(`^Usage: vfio ${name} .*\\n\\n.{20,}`)),
    err: '',
  });
});

// 1 and 2 are what it found, which scripts must not mistake a typing error for.
test.each([
  [['doctor', 'x'], /^vfio: not a PCI address/],
  [['doctor', 'ffff:ff:1f.7'], /^vfio: there is no PCI device ffff:ff:1f.7/],
  [['doctor', '--no-such'], /^error: unknown option/],
])('%j examines nothing, which is status 3', (args, message) => {
  expect(vfio(args)).toEqual({ status: 3, out: '', err: expect.stringMatching(message) });
});

test.each([
  [['info', 'x'], 1],
  [['topology', '--no-such'], 1],
])('%j is status %d', (args, status) => {
  expect(vfio(args)).toMatchObject({ status, out: '' });
});
