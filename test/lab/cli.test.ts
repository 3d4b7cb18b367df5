/** `vfio lab` as a process of its own; needs dist/ (`npm run build`). */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { runtimeDirectory } from '../../src/lab/running/directory';

jest.setTimeout(120_000);

const main = `${__dirname}/../../dist/cli.js`;

/** Of this file's labs alone: others may run beside it. */
const runtime = mkdtempSync(join(tmpdir(), 'vfio-lab-'));
process.env.XDG_RUNTIME_DIR = runtime;
const started = new Set<ChildProcess>();

// What a test that failed has left running would keep Jest from ending.
afterEach(() => {
  for (const child of started) child.kill('SIGKILL');
  started.clear();
});

afterAll(() => rmSync(runtime, { recursive: true }));

function vfio([stdin]: ['ignore' | 'pipe'], ...args: string[]): ChildProcess {
  if (!existsSync(main)) throw new Error('no dist/: run `npm run build` first');
  const child = spawn(process.execPath, [main, ...args], { stdio: [stdin, 'pipe', 'pipe'] });
  started.add(child);
  return child;
}

async function run(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const child = vfio(['ignore'], ...args);
  const status = new Promise<number>((resolve) =>
    child.once('exit', (code) => resolve(code ?? -1)),
  );
  const [out, err] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
  return { status: await status, out, err };
}

/** Resolves when a command in the lab has printed something. */
async function output(child: ChildProcess): Promise<void> {
  await new Promise((resolve) => child.stdout?.once('data', resolve));
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** Process ids of the QEMUs that a process has started, each by a keeper. */
function qemusOf(pid: number): number[] {
  const all = childrenOf(pid).flatMap(childrenOf);
  // An unpacked QEMU is run by its own loader.
  return all.filter((child) =>
    /^(qemu|ld-linux)/.test(readFileSync(`/proc/${child}/comm`, 'utf8')),
  );
}

/** The labs whose directories there are. */
const labs = () => readdirSync(runtimeDirectory());

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('what follows -- is the command, whatever it is called', async () => {
  const script = 'echo out; echo err >&2; exit 4';
  const { status, out, err } = await run(
    ...['lab', '--device', 'edu', '--env', 'SCRIPT=x y', '--'],
    ...['sh', '-c', `[ "$SCRIPT" = "x y" ] && ${script}`, '--', 'setup', '--help'],
  );
  expect({ status, out }).toEqual({ status: 4, out: 'out\n' });
  // The first line is for whoever wonders why nothing happens.
  expect(err).toMatch(/^(vfio lab: booting .*, about \d+ s\n)?err\n$/);
});

test('what stdin has goes to the command', async () => {
  const child = vfio(['pipe'], 'lab', '--device', 'edu', '--', 'cat');
  child.stdin!.end('data\n');
  expect(await text(child.stdout!)).toBe('data\n');
});

test('a lab that is kept takes commands of other processes until it is stopped', async () => {
  const kept = await run(
    'lab',
    '--keep',
    '--device',
    'edu',
    '--',
    'sh',
    '-c',
    'echo >/tmp/here; exit 3',
  );
  expect(kept.status).toBe(3);
  const [, id = ''] = /: ([0-9a-f]{6}) runs on/.exec(kept.err)!;
  try {
    const start = Date.now();
    const second = await run(
      'lab',
      'exec',
      '--env',
      'A=b',
      id,
      '--',
      'sh',
      '-c',
      'ls /tmp/here; echo $A',
    );
    expect(second).toEqual({ status: 0, out: '/tmp/here\nb\n', err: '' });
    console.info(`vfio lab exec took ${Date.now() - start} ms`);

    const long = vfio(['ignore'], 'lab', 'exec', id, '--', 'sh', '-c', 'echo go; exec sleep 1000');
    await output(long);
    const { out } = await run('lab', 'ps');
    expect(out).toMatch(new RegExp(`^ID .*\n(.*\n)*${id} +\\d+ +\\d+ \\w+ .* edu +sh -c echo go`));
    const [listed] = JSON.parse((await run('lab', 'ps', '--json')).out).filter(
      (lab: { id: string }) => lab.id === id,
    );
    expect(isRunning(listed.pid)).toBe(true);

    // What ends a command's process ends the command.
    long.kill('SIGKILL');
    const gone = 'while ps -e -o args | grep -q "^sleep 1000"; do sleep 0.1; done';
    expect((await run('lab', 'exec', id, '--', 'sh', '-c', gone)).status).toBe(0);

    const lost = vfio(['ignore'], 'lab', 'exec', id, '--', 'sh', '-c', 'echo go; exec sleep 1000');
    await output(lost);
    const message = text(lost.stderr!);
    expect(await run('lab', 'stop', id)).toEqual({ status: 0, out: '', err: '' });
    expect(await message).toMatch(/the VM ended before its command\n$/);
    expect(isRunning(listed.pid)).toBe(false);
    expect(labs()).not.toContain(id);
  } finally {
    await run('lab', 'stop', id);
  }
  const gone = await run('lab', 'exec', id, '--', 'true');
  expect([gone.status, gone.err]).toEqual([125, expect.stringMatching(/no lab .* is running/)]);
});

test('a lab that fails is status 125 and a message, with the last lines of the kernel', async () => {
  const panic = 'echo c >/proc/sysrq-trigger';
  const { status, err } = await run('lab', '--device', 'edu', '--', 'sh', '-c', panic);
  expect(status).toBe(125);
  expect(err).toMatch(/Call Trace:/);
  expect(err.trimEnd().split('\n').at(-1)).toBe(
    'vfio: Kernel panic - not syncing: sysrq triggered crash',
  );
  expect(err).not.toMatch(/at .*\.js:/);
});

test('a broken pipe, SIGTERM and SIGKILL all end the VM', async () => {
  const script = 'echo ready; while :; do sleep 0.1; echo more; done';
  const piped = vfio(['ignore'], 'lab', '--device', 'edu', '--', 'sh', '-c', script);
  const [pipedQemu] = await qemuOf(piped);
  const exit = new Promise((resolve) => piped.once('exit', resolve));
  piped.stdout?.destroy();
  expect(await exit).toBe(141);
  expect(isRunning(pipedQemu)).toBe(false);

  const killed = vfio(['ignore'], 'lab', '--device', 'edu', '--', 'sh', '-c', script);
  const [killedQemu] = await qemuOf(killed);
  killed.kill('SIGKILL');
  while (isRunning(killedQemu)) await new Promise((resolve) => setTimeout(resolve, 50));

  const ended = vfio(['ignore'], 'lab', '--device', 'edu', '--', 'sleep', '1000');
  const endedExit = new Promise((resolve) => ended.once('exit', resolve));
  while (qemusOf(ended.pid!).length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  const [endedQemu = 0] = qemusOf(ended.pid!);
  ended.kill('SIGTERM'); // before there is a command to forward it to
  expect(await endedExit).toBe(143);
  while (isRunning(endedQemu)) await new Promise((resolve) => setTimeout(resolve, 50));
  while (labs().length > 0) await new Promise((resolve) => setTimeout(resolve, 50));
});

async function qemuOf(child: ChildProcess): Promise<[qemu: number]> {
  await output(child);
  const [qemu = 0] = qemusOf(child.pid!);
  expect(isRunning(qemu)).toBe(true);
  return [qemu];
}

test.each([
  [['lab'], /no command.*\n.*usage: vfio lab/],
  [['lab', '-t', '--', 'vi'], /-t needs a terminal/],
  [['lab', 'exec', 'nothing', '--', 'true'], /no lab "nothing" is running/],
  [['lab', 'stop'], /no lab to stop/],
  [['lab', 'true'], /too many arguments/],
  [['lab', '--cpus', 'two', '--', 'true'], /Not a number/],
  [['lab', '--memory', '4G', '--', 'true'], /VFs of the igb/],
  [['lab', '--kernel', '/etc/passwd', '--', 'true'], /not a bzImage/],
  [['lab', '--env', 'VFIO_UNSET_VARIABLE', '--', 'true'], /give NAME=VALUE/],
])('%j is refused without a boot', async (args, message) => {
  const { status, out, err } = await run(...args);
  expect({ status, out }).toEqual({ status: 125, out: '' });
  expect(err).toMatch(message);
});
