/** The program as a process: exit statuses, and what it prints where. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';

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
