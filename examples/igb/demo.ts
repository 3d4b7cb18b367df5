/**
 * Program: SR-IOV with VF tokens, shown step by step on an 82576.
 *
 * Run it in the lab (`npm run demo`), or as root on a machine with a free 82576. Everything is put
 * back as it was.
 */
import { randomUUID } from 'node:crypto';
import { type Binding, bindDriver, openDevice, readPciDevice, Sriov, VfioError } from 'vfio';
import { describeError, parseCount, runProgram, UsageError } from '../program';
import { Child, type Report } from './child';

const DEFAULT_PF = '0000:01:00.0';
const DEFAULT_FRAMES = 1000;

const USAGE = `Usage: node demo.js [BDF] [--frames N]

Show SR-IOV with VF tokens: a PF driver and two VF drivers, each a process of its own.
BDF is the PF of an Intel 82576 (default ${DEFAULT_PF}); ${DEFAULT_FRAMES} frames go each way by default.`;

interface Counts {
  vfToVf: number;
  vfToPf: number;
  pfToVf: number;
  bad: number;
}

let step = 0;
function heading(text: string): void {
  console.log(`\n${++step}. ${text}`);
}

function say(text: string): void {
  console.log(`   ${text}`);
}

async function demonstrate(pf: string, frames: number): Promise<Counts> {
  const driverBefore = readPciDevice(pf).driver;
  heading(`Take the PF, ${pf}, away from its driver`);
  const binding = await bindDriver(pf);
  say(`it was bound to ${driverBefore ?? 'no driver'} and is bound to ${binding.driver} now`);
  let counts: Counts;
  try {
    counts = await exchangeFrames(pf, frames);
  } finally {
    heading('Clean up');
    await new Sriov(pf).setNumVfs(0);
    say('the VFs are gone (sriov_numvfs 0)');
    await restore(pf, binding);
  }
  const driverAfter = readPciDevice(pf).driver;
  if (driverAfter !== driverBefore) throw new Error(`${pf} is bound to ${driverAfter} now`);
  return counts;
}

/** That a device opens again shows that nothing holds it any more. */
async function restore(pf: string, binding: Binding): Promise<void> {
  const device = await openDevice(pf);
  await device.close();
  say('the PF could be opened once more: nobody holds it or its group');
  await binding.restore();
  say(`the PF is bound to ${binding.previousDriver ?? 'no driver'} again`);
}

async function exchangeFrames(pf: string, frames: number): Promise<Counts> {
  const token = randomUUID();
  const count = String(frames);
  heading('Start the PF driver with a VF token and two VFs');
  const pfArguments = ['--vf-token', token, '--vfs', '2', '--tx', count, '--expect', count];
  const pfDriver = new Child('pf', [pf, ...pfArguments]);
  const children = [pfDriver];
  const startVf = (bdf: string, args: string[]): Child => {
    const child = new Child('vf', [bdf, '--vf-token', token, ...args]);
    children.push(child);
    return child;
  };
  try {
    const { mac, vfs } = (await pfDriver.report('ready')) as Report & {
      mac: string;
      vfs: string[];
    };
    const [vf0, vf1] = vfs as [string, string];
    say(`token ${token}: random, and known to those only whom the PF's owner tells`);
    say(`the PF has ${mac}, its VFs are ${vf0} and ${vf1}, bound to vfio-pci by the kernel`);
    await pfDriver.report('link');
    say('link is up');

    heading(`Open ${vf0} with a wrong token, and with none`);
    await assertRefused('a wrong token', vf0, { vfToken: randomUUID() });
    await assertRefused('no token', vf0, {});

    heading(`With the right token: ${frames} frames from VF to PF, and ${frames} back`);
    const withPf = startVf(vf0, ['--tx', count, '--to', mac, '--expect', count]);
    say(`${vf0} is up; the PF gave it ${String((await withPf.report('ready')).mac)}`);
    const vfStats = await withPf.finish();
    await pfDriver.report('received');
    say(`the VF got ${String(vfStats.rx)} good frames`);

    heading(`${frames} frames from VF to VF`);
    const receiver = startVf(vf1, ['--expect', count]);
    const receiverMac = String((await receiver.report('ready')).mac);
    say(`${vf1} is up and has ${receiverMac}`);
    const sender = startVf(vf0, ['--tx', count, '--to', receiverMac]);
    await sender.finish();
    const receiverStats = await receiver.finish();
    say(`${vf1} got ${String(receiverStats.rx)} good frames`);

    heading('Stop the PF driver');
    await pfDriver.stop();
    const pfStats = await pfDriver.finish();
    say(`it got ${String(pfStats.rx)} good frames`);
    const bad = [vfStats, receiverStats, pfStats].reduce(
      (sum, stats) => sum + Number(stats.bad),
      0,
    );
    return {
      vfToVf: Number(receiverStats.rx),
      vfToPf: Number(pfStats.rx),
      pfToVf: Number(vfStats.rx),
      bad,
    };
  } finally {
    await Promise.all(children.map((child) => child.stop()));
  }
}

async function assertRefused(
  what: string,
  bdf: string,
  options: { vfToken?: string },
): Promise<void> {
  try {
    const device = await openDevice(bdf, options);
    await device.close();
  } catch (error) {
    if (!(error instanceof VfioError) || error.code !== 'EACCES') throw error;
    say(`${what} is refused:`);
    for (const line of describeError('error', error).split('\n')) say(`  ${line}`);
    return;
  }
  throw new Error(`${what} opened ${bdf}`);
}

async function main(
  options: Readonly<Record<string, string | undefined>>,
  positionals: string[],
): Promise<void> {
  if (positionals.length > 1) throw new UsageError('expected at most one argument, BDF');
  const frames = parseCount('frames', options.frames, 1) ?? DEFAULT_FRAMES;
  const { vfToVf, vfToPf, pfToVf, bad } = await demonstrate(positionals[0] ?? DEFAULT_PF, frames);
  const counts = `vf->vf ${vfToVf}, vf->pf ${vfToPf}, pf->vf ${pfToVf}, ${bad} bad`;
  const complete = [vfToVf, vfToPf, pfToVf].every((count) => count === frames);
  if (!complete || bad > 0) throw new Error(`not all ${frames} frames arrived: ${counts}`);
  console.log(`\ndemo: ok (${counts})`);
}

const options = { frames: { type: 'string' } } as const;
void runProgram({ name: 'demo', usage: USAGE, options }, main);
