/** `vfio lab` as a process of its own; needs dist/ (`npm run build`). */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';

jest.setTimeout(120_000);

const main = `${__dirname}/../../dist/cli.js`;

function vfio(...args: string[]): ChildProcess {
  if (!existsSync(main)) throw new Error('no dist/: run `npm run build` first');
  return spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}

async function run(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const child = vfio(...args);
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

/** Process ids of the QEMUs that a process has started. */
function qemusOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
}

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
  expect({ status, out, err }).toEqual({ status: 4, out: 'out\n', err: 'err\n' });
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
  const piped = vfio('lab', '--device', 'edu', '--', 'sh', '-c', script);
  const [pipedQemu] = await started(piped);
  const exit = new Promise((resolve) => piped.once('exit', resolve));
  piped.stdout?.destroy();
  expect(await exit).toBe(141);
  expect(isRunning(pipedQemu)).toBe(false);

  const killed = vfio('lab', '--device', 'edu', '--', 'sh', '-c', script);
  const [killedQemu] = await started(killed);
  killed.kill('SIGKILL');
  while (isRunning(killedQemu)) await new Promise((resolve) => setTimeout(resolve, 50));

  const ended = vfio('lab', '--device', 'edu', '--', 'sleep', '1000');
  const endedExit = new Promise((resolve) => ended.once('exit', resolve));
  while (qemusOf(ended.pid!)[0] === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  const [endedQemu = 0] = qemusOf(ended.pid!);
  ended.kill('SIGTERM'); // before there is a command to forward it to
  expect(await endedExit).toBe(143);
  while (isRunning(endedQemu)) await new Promise((resolve) => setTimeout(resolve, 50));
});

async function started(child: ChildProcess): Promise<[qemu: number]> {
  await output(child);
  const [qemu = 0] = qemusOf(child.pid!);
  expect(isRunning(qemu)).toBe(true);
  return [qemu];
}

test.each([
  [['lab'], /no command/],
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
