/** Writes to sysfs wait as long as a device has users: nothing else may wait with them. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { blockingRead, blockingWrite } from '../../src/pci/blocking-write';

jest.mock('../../src/native', () => require('./fake-native'));

const run = promisify(execFile);
const directory = mkdtempSync(join(tmpdir(), 'vfio-write-'));
afterAll(() => rmSync(directory, { recursive: true }));

const FUNCTIONS = [
  ...['bindDriver', 'bindDevices', 'driver_override', 'Binding.restore', 'restoreDevices'],
  ...['Sriov.setNumVfs', 'changeVfs', 'resetDevice', 'createMdev', 'removeMdev'],
];

test('each function that writes waits for its file; a close and an ioctl do not, nor does the end', async () => {
  const child = spawn(
    process.execPath,
    ['-r', join(__dirname, 'ts-child.cjs'), join(__dirname, 'blocked-writes.ts')],
    { env: { ...process.env, UV_THREADPOOL_SIZE: '1' }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const timer = setTimeout(() => child.kill('SIGKILL'), 90_000);
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  // Its output stays open in nobody that it left behind.
  const status = await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  const lines = out.trim().split('\n');
  expect(lines.slice(0, -1)).toEqual(
    [...FUNCTIONS, FUNCTIONS[0]].map((name) => `${name} waits; ioctl, close 0`),
  );
  expect(status).toBe(0);
  const sys = lines.at(-1)!;
  // Its writer was left behind, and ends once it has written.
  const unbind = join(sys, 'bus/pci/drivers/snd_hda_intel/unbind');
  expect((await run('cat', [unbind])).stdout).toBe('0000:01:00.1');
  rmSync(dirname(sys), { recursive: true });
});

test('no other file of the library writes by the pool of threads, nor to sysfs by itself', () => {
  const root = join(__dirname, '../../src');
  const sources = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.startsWith('lab/') && !/lab/.test(name))
    .map((name) => [name, readFileSync(join(root, name), 'utf8')] as const);
  const having = (pattern: RegExp) =>
    sources.flatMap(([name, text]) => (pattern.test(text) ? [name] : [])).sort();
  expect(having(/node:fs\/promises/)).toEqual([]);
  expect(having(/\b(?:writeFile|writeFileSync|appendFile\w*|createWriteStream)\b/)).toEqual([
    'pci/binding/records.ts',
    'pci/binding/udev-rule.ts',
  ]);
  // Whoever writes is in the list of functions above.
  expect(having(/\bwriteSysfs\b|\bblockingWrite\b/)).toEqual([
    ...['device/mdev.ts', 'device/reset.ts', 'pci/binding/bind.ts', 'pci/blocking-write.ts'],
    ...['pci/sysfs-write.ts', 'pci/virtual-functions.ts'],
  ]);
});

test.each([
  ['ENOENT', 'missing'],
  ['EISDIR', '.'],
  ['ENOTDIR', 'file/below'],
] as const)('an errno comes back as it is: %s', async (code, name) => {
  writeFileSync(join(directory, 'file'), '');
  await expect(blockingWrite(join(directory, name), 'x')).rejects.toMatchObject({
    code,
    errno: -constants.errno[code],
    syscall: 'open',
  });
});

test('more writes at a time than there are threads, in one write(2) each', async () => {
  const fifos = Array.from({ length: 6 }, (_, i) => join(directory, `fifo${i}`));
  execFileSync('mkfifo', fifos);
  const writes = fifos.map((path, i) => blockingWrite(path, `text ${i}`));
  // The last first: none is behind another one.
  for (const [i, path] of [...fifos.entries()].reverse()) {
    expect((await run('cat', [path])).stdout).toBe(`text ${i}`);
    await writes[i];
  }
});

test('reads, too; a writer that is killed is an error, and the next write has another one', async () => {
  const file = join(directory, 'text');
  writeFileSync(file, 'old\n');
  expect(await blockingRead(file)).toBe('old');
  const children = () =>
    readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').map(Number);
  for (const pid of children()) {
    if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('closeSync'))
      process.kill(pid, 'SIGKILL');
  }
  const attempts = [1, 2, 3, 4, 5, 6, 7].map(() =>
    blockingWrite(file, 'new').catch((error) => error.code),
  );
  for (const result of await Promise.all(attempts))
    expect([undefined, 'EINTR', 'EPIPE']).toContain(result);
  await blockingWrite(file, 'new');
  expect(readFileSync(file, 'utf8')).toBe('new\n');
});
