/** Which files of the host a guest does not get, and the view without them. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { hiddenPaths } from '../../src/lab/host-files/hidden';
import { viewOfHost } from '../../src/lab/host-files/view';

let root: string;
let home: string;
beforeEach(() => {
  root = mkdtempSync(join(os.tmpdir(), 'vfio-unit-'));
  home = join(root, 'home');
  mkdirSync(join(home, '.ssh'), { recursive: true });
  writeFileSync(join(home, '.ssh/id_ed25519'), 'secret');
  writeFileSync(join(home, '.netrc'), 'secret');
  writeFileSync(join(home, 'notes'), 'plain');
  jest.spyOn(os, 'homedir').mockReturnValue(home);
});
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(root, { recursive: true });
});

const below = (paths: readonly { path: string }[]) =>
  paths.filter(({ path }) => path.startsWith(root));

test('the usual places of keys, and what is asked for, without symbolic links', () => {
  mkdirSync(join(root, 'keys'));
  symlinkSync(join(root, 'keys'), join(home, '.gnupg'));
  const more = [join(home, 'notes'), join(home, '.ssh/id_ed25519'), join(home, 'missing')];
  expect(below(hiddenPaths(more))).toEqual([
    { kind: 'directory', path: join(home, '.ssh') },
    { kind: 'directory', path: join(root, 'keys') },
    { kind: 'file', path: join(home, '.netrc') },
    { kind: 'file', path: join(home, 'notes') },
  ]);
});

test('the view shows all files but those, which are empty, and none of the kernel', async () => {
  const directory = join(root, 'lab');
  mkdirSync(directory);
  const view = await viewOfHost(directory, below(hiddenPaths([])) as never);
  if (view.enter.length === 0) {
    console.info('this machine lets nobody make mounts: the guest hides them itself');
    expect(view).toMatchObject({ root: '/', hidden: expect.arrayContaining([expect.anything()]) });
    return;
  }
  const [program, ...args] = view.enter;
  const script =
    'cd "$0"; for name in $1/.ssh proc sys dev run; do ls -A $name; done; cat $1/.netrc $1/notes; echo; ls -A $1';
  const shown = execFileSync(program!, [...args, 'sh', '-c', script, view.root, home.slice(1)]);
  expect(shown.toString().split('\n')).toEqual([...['plain', '.netrc', '.ssh', 'notes', '']]);
  // Nothing of it is mounted outside.
  expect(execFileSync('ls', ['-A', view.root]).toString()).toBe('');
});
