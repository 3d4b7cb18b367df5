import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BuildStep, runStep } from '../../src/lab/kernel/build-step';
import { type FileLock, lockFile } from '../../src/lab/lock';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfio-unit-'));
  path = join(directory, 'lock');
});
afterEach(() => rmSync(directory, { recursive: true }));

async function isFree(): Promise<boolean> {
  const [status] = await once(spawn('flock', ['--nonblock', path, 'true']), 'exit');
  return status === 0;
}

function shell(script: string): BuildStep {
  return { what: 'the step', command: ['sh', '-c', script], cwd: directory };
}

describe('lockFile', () => {
  test('a second one waits for the first, and says so', async () => {
    const first = await lockFile(path, () => {});
    let second: FileLock | undefined;
    const busy = new Promise<void>((resolve) => {
      void lockFile(path, resolve).then((lock) => {
        second = lock;
      });
    });
    await busy;
    expect(second).toBeUndefined();
    first[Symbol.dispose]();
    while (second === undefined) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await isFree()).toBe(false);
    second[Symbol.dispose]();
    expect(await isFree()).toBe(true);
  });

  test('waiting ends with the signal, and leaves no claim to the lock', async () => {
    const first = await lockFile(path, () => {});
    const abort = new AbortController();
    const second = lockFile(path, () => abort.abort(), abort.signal);
    await expect(second).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
    first[Symbol.dispose]();
    expect(await isFree()).toBe(true);
  });

  test('lasts as long as a process that has inherited it', async () => {
    const lock = await lockFile(path, () => {});
    const child = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore', lock.descriptor] });
    await once(child, 'spawn');
    lock[Symbol.dispose]();
    expect(await isFree()).toBe(false);
    child.stdin?.end();
    await once(child, 'exit');
    expect(await isFree()).toBe(true);
  });
});

describe('runStep', () => {
  let lock: FileLock;
  beforeEach(async () => {
    lock = await lockFile(path, () => {});
  });
  afterEach(() => lock[Symbol.dispose]());

  test('shows each line, and gives the program no environment but its own', async () => {
    process.env.MAKEFLAGS = 'nonsense';
    const lines: string[] = [];
    const step = { ...shell('echo "$MAKEFLAGS$X"; echo err >&2'), env: { X: 'own' } };
    await runStep(
      { ...step, onLine: (line) => lines.push(line) },
      { lock: lock.descriptor, signal: undefined },
    );
    delete process.env.MAKEFLAGS;
    expect(lines.sort()).toEqual(['err', 'own']);
  });

  test('a failure quotes the end of what was said', async () => {
    const context = { lock: lock.descriptor, signal: undefined };
    const script = 'for i in $(seq 100); do echo "line $i"; done; exit 3';
    const failed = runStep(shell(script), context);
    await expect(failed).rejects.toThrow(
      /^the step failed \(sh -c .*\):\nline 81\n(.*\n)*line 100$/,
    );
    const missing: BuildStep = { ...shell(''), command: ['/nowhere/make'] };
    await expect(runStep(missing, context)).rejects.toThrow(/\/nowhere\/make/);
  });

  test('the signal ends what the program has started, too', async () => {
    const abort = new AbortController();
    const pid = { child: 0 };
    const step: BuildStep = {
      ...shell('sleep 1000 & echo $!; wait'),
      onLine: (line) => {
        pid.child = Number(line);
        abort.abort();
      },
    };
    const run = runStep(step, { lock: lock.descriptor, signal: abort.signal });
    await expect(run).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
    expect(existsSync(`/proc/${pid.child}/fd/0`)).toBe(false);
    // An aborted build does not go on to its next step.
    const next = runStep(shell('exit 0'), { lock: lock.descriptor, signal: abort.signal });
    await expect(next).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
  });
});
