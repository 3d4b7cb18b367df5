/** The record of running VMs, with a listening socket in QEMU's place. */
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tryLockFile } from '../../src/lab/lock';
import { attachLab } from '../../src/lab/running/attach';
import { makeVmDirectory, runtimeDirectory } from '../../src/lab/running/directory';
import { listLabs, writeRecord } from '../../src/lab/running/registry';

let root: string;
let servers: Server[];
const before = process.env.XDG_RUNTIME_DIR;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vfio-unit-'));
  process.env.XDG_RUNTIME_DIR = root;
  servers = [];
});
afterEach(() => {
  for (const server of servers) server.close();
  if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = before;
  rmSync(root, { recursive: true });
});

const record = { pid: 4711, started: Date.now() - 5000, kernel: '6.12', devices: ['edu'] };

async function listen(directory: string): Promise<void> {
  const server = createServer((socket) => socket.destroy()).listen(join(directory, 'monitor'));
  servers.push(server);
  await once(server, 'listening');
}

test('a running VM is listed with what runs in it, and found by its ID', async () => {
  const { id, directory } = makeVmDirectory();
  await listen(directory);
  writeRecord(directory, record);
  writeFileSync(join(directory, 'console.log'), '');
  const running = { pid: process.pid, command: ['node', 'driver.js'] };
  writeFileSync(join(directory, '0.command'), JSON.stringify(running));
  writeFileSync(join(directory, '1.command'), JSON.stringify({ ...running, pid: 2 ** 22 + 1 }));
  expect(await listLabs()).toEqual([
    { id, ...record, started: new Date(record.started), commands: [['node', 'driver.js']] },
  ]);
  await using lab = await attachLab(id);
  expect(lab.id).toBe(id);
  await expect(attachLab('0')).rejects.toMatchObject({
    code: 'LAB_GONE',
    hint: expect.stringContaining(id),
  });
});

test('what a killed VM has left is removed; one that is starting stays', async () => {
  const dead = makeVmDirectory();
  writeRecord(dead.directory, record);
  mkdirSync(join(dead.directory, 'view'));
  const never = makeVmDirectory();
  utimesSync(never.directory, 0, 0);
  const starting = makeVmDirectory();
  expect(await listLabs()).toEqual([]);
  expect(readdirSync(runtimeDirectory())).toEqual([starting.id]);
});

test('a directory that others may enter, or have made, is refused', () => {
  const directory = runtimeDirectory();
  chmodSync(directory, 0o755);
  expect(() => makeVmDirectory()).toThrow(expect.objectContaining({ code: 'LAB_SETUP' }));
  rmSync(directory, { recursive: true });
  mkdirSync(join(root, 'elsewhere'), { mode: 0o700 });
  symlinkSync(join(root, 'elsewhere'), directory);
  expect(() => makeVmDirectory()).toThrow(expect.objectContaining({ code: 'LAB_SETUP' }));
  expect(existsSync(join(root, 'elsewhere'))).toBe(true);
});

test('a lock is had once', async () => {
  const path = join(root, 'lock');
  const lock = await tryLockFile(path);
  expect(lock).toBeDefined();
  expect(await tryLockFile(path)).toBeUndefined();
  lock![Symbol.dispose]();
  using again = await tryLockFile(path);
  expect(again).toBeDefined();
});
