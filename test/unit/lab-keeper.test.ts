/** The process between a lab's owner and QEMU, with a `sleep` in QEMU's place. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { BOUND_TO_KEEPER, KEEPER } from '../../src/lab/machine/keeper';

let root: string;
let directory: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vfio-unit-'));
  directory = join(root, 'lab');
  for (const name of ['', 'view', 'empty']) mkdirSync(join(directory, name));
});
afterEach(() => rmSync(root, { recursive: true }));

/** Writes its process ID to a file, as QEMU does, and becomes a `sleep`. */
const program = 'echo $$ >"$0"; exec sleep 1000';

async function start(): Promise<{ keeper: ChildProcess; lease: Writable; pid: number }> {
  const file = join(root, 'pid');
  const command = [...BOUND_TO_KEEPER, 'sh', '-c', program, file];
  const keeper = spawn('sh', ['-c', KEEPER, 'test', directory, ...command], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'ignore', 'ignore'],
    detached: true,
  });
  await until(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'));
  return { keeper, lease: keeper.stdio[3] as Writable, pid: Number(readFileSync(file, 'utf8')) };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('ends QEMU and removes the directory when its owner has ended, though nobody reads of it', async () => {
  const { keeper, lease, pid } = await start();
  writeFileSync(join(directory, 'monitor'), '');
  keeper.stderr!.destroy();
  lease.destroy();
  await once(keeper, 'exit');
  expect(isRunning(pid)).toBe(false);
  expect(existsSync(directory)).toBe(false);
});

test('keeps QEMU after the word, and removes the directory when it ends by itself', async () => {
  const { keeper, lease, pid } = await start();
  lease.end('keep\n');
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(isRunning(pid)).toBe(true);
  process.kill(pid, 'SIGTERM');
  expect(await once(keeper, 'exit')).toEqual([143, null]);
  expect(existsSync(directory)).toBe(false);
});

test('takes QEMU with it when it is killed', async () => {
  const { keeper, lease, pid } = await start();
  keeper.kill('SIGKILL');
  await until(() => !isRunning(pid));
  lease.destroy();
});

test('removes nothing below the view', async () => {
  const { keeper, lease } = await start();
  writeFileSync(join(directory, 'view', 'precious'), '');
  lease.destroy();
  await once(keeper, 'exit');
  expect(existsSync(join(directory, 'view', 'precious'))).toBe(true);
});
