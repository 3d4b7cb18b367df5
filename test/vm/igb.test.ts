/**
 * The igb example drivers on an 82576: as PF and VF together, and each with the kernel's driver on the other side.
 *
 * @kernel stock
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Binding, bindDriver, openDevice, readPciDevice, Sriov } from 'vfio';
import { Child, type Report } from '../../examples/igb/child';
import { formatMac } from '../../examples/igb/mac';
import { encodeBareNack, PfMailbox } from '../../examples/igb/mailbox';
import { PfDriver } from '../../examples/igb/pf-driver';
import { Pf, type PfRegister, Registers } from '../../examples/igb/registers';
import { VfServer } from '../../examples/igb/vf-server';
import { times } from '../fixtures/scale';
import { findDevice } from './lab-devices';

const PROGRAMS = join(__dirname, '../../build/examples/igb');
const PCI_DEVICES = '/sys/bus/pci/devices';
const TOKEN = randomUUID();
/** A guest without hardware virtualisation is slow, and shares its host. */

const PF = findDevice('igb').bdf;
const children: Child[] = [];
const bindings: Binding[] = [];

function start(program: 'pf' | 'vf', bdf: string, ...args: string[]): Child {
  const child = new Child(program, [bdf, ...args], PROGRAMS);
  children.push(child);
  return child;
}

const startPf = (...args: string[]) => start('pf', PF, '--vf-token', TOKEN, ...args);
const startVf = (bdf: string, ...args: string[]) => start('vf', bdf, '--vf-token', TOKEN, ...args);

async function bind(bdf: string, driver: string): Promise<void> {
  bindings.push(await bindDriver(bdf, driver));
}

const macOf = async (child: Child) => String((await child.report('ready')).mac);
const vfsOf = async (child: Child) => (await child.report('ready')).vfs as string[];

function networkInterface(bdf: string): string {
  return readdirSync(join(PCI_DEVICES, bdf, 'net'))[0]!;
}

const ip = (...args: string[]) => execFileSync('ip', args);

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(100);
}

function count(reports: Report[], event: string, fields: Record<string, unknown>): number {
  const matches = (report: Report) =>
    report.event === event && Object.entries(fields).every(([name, v]) => report[name] === v);
  return reports.filter(matches).length;
}

beforeAll(() => {
  if (!existsSync(PROGRAMS)) throw new Error(`${PROGRAMS} is missing: npm run build`);
});

afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.stop()));
  for (const binding of bindings.splice(0).reverse()) {
    if (existsSync(join(PCI_DEVICES, binding.bdf))) await binding.restore();
  }
  await new Sriov(PF).setNumVfs(0);
});

const frames = times(1000, 10_000);

test(`${frames} frames from VF to VF, none bad, none lost`, async () => {
  await bind(PF, 'vfio-pci');
  const pf = startPf('--vfs', '2');
  const [vf0, vf1] = (await vfsOf(pf)) as [string, string];
  const receiver = startVf(vf1, '--expect', String(frames));
  const sender = startVf(vf0, '--tx', String(frames), '--to', await macOf(receiver));
  expect(await sender.finish()).toMatchObject({ tx: frames });
  expect(await receiver.finish()).toMatchObject({ rx: frames, bad: 0, lost: 0 });
  await pf.stop();
  expect(await pf.finish()).toMatchObject({ event: 'stats' });
  expect(pf.reports).toContainEqual({ event: 'link', up: true });
  expect(count(pf.reports, 'mailbox', { request: 'reset', accepted: true })).toBe(2);
});

/** As DPDK's PF driver: it writes a bare NACK after each acknowledgement of a VF, whatever its state. */
async function openNackingPf(): Promise<{ pf: PfDriver; nacks: () => number; resets: number[] }> {
  const resets: number[] = [];
  let nacks = 0;
  const serve = VfServer.prototype.serve;
  const pf = await PfDriver.open(
    PF,
    { vfToken: TOKEN },
    { onLink: () => {}, onMailbox: (vf, kind) => kind === 'reset' && resets.push(vf) },
  );
  const registers = new Registers<PfRegister>(pf.device.region('bar0'));
  const mailbox = new PfMailbox(registers);
  jest.spyOn(VfServer.prototype, 'serve').mockImplementation(function (this: VfServer) {
    const acknowledged = (registers.read(Pf.MBVFICR) >>> 16) & 0xff;
    serve.call(this);
    for (let vf = 0; vf < 8; vf++) {
      if (acknowledged & (1 << vf) && mailbox.send(vf, encodeBareNack())) nacks += 1;
    }
  });
  return { pf, nacks: () => nacks, resets };
}

test('1000 frames from VF to VF under a PF that answers acknowledgements with a bare NACK', async () => {
  await bind(PF, 'vfio-pci');
  const { pf, nacks, resets } = await openNackingPf();
  try {
    const [vf0, vf1] = (await pf.device.sriov.setNumVfs(2)) as [string, string];
    const receiver = startVf(vf1, '--expect', '1000');
    const to = await macOf(receiver);
    expect(to).toBe(formatMac(pf.vfAddress(1)));
    // Long enough for each to have looked at its mailbox many times.
    await delay(3000);
    const sender = startVf(vf0, '--tx', '1000', '--to', to);
    expect(await sender.finish()).toMatchObject({ tx: 1000 });
    expect(await receiver.finish()).toMatchObject({ rx: 1000, bad: 0, lost: 0 });
    expect([...sender.reports, ...receiver.reports].map(({ event }) => event)).not.toContain(
      'reset',
    );
    expect([new Set(resets), nacks() >= 2 && nacks() < 40]).toEqual([new Set([0, 1]), true]);
  } finally {
    jest.restoreAllMocks();
    await pf.close();
  }
});

test('PF and VF exchange frames in both directions', async () => {
  await bind(PF, 'vfio-pci');
  const pf = startPf('--vfs', '1', '--tx', '1000', '--expect', '1000');
  const [vf0] = (await vfsOf(pf)) as [string];
  const vf = startVf(vf0, '--tx', '1000', '--to', await macOf(pf), '--expect', '1000');
  expect(await vf.finish()).toMatchObject({ rx: 1000, bad: 0, lost: 0 });
  await pf.report('received');
  await pf.stop();
  expect(await pf.finish()).toMatchObject({ rx: 1000, tx: 1000, bad: 0, lost: 0 });
});

test('a VF opens with the PF token only', async () => {
  await bind(PF, 'vfio-pci');
  const [vf0] = (await vfsOf(startPf('--vfs', '1'))) as [string];
  const denied = expect.objectContaining({
    code: 'EACCES',
    hint: expect.stringContaining('token'),
  });
  await expect(openDevice(vf0)).rejects.toEqual(denied);
  await expect(openDevice(vf0, { vfToken: randomUUID() })).rejects.toEqual(denied);
  await (await openDevice(vf0, { vfToken: TOKEN })).close();
});

const hasVlans = spawnSync('modprobe', ['8021q']).status === 0;
if (!hasVlans) console.info('no VLANs in this kernel: igbvf is not seen to ask for one');

test("the kernel's igbvf works on a VF that was created after the PF driver had started", async () => {
  execFileSync('modprobe', ['igbvf']);
  await bind(PF, 'vfio-pci');
  const pf = startPf();
  await pf.report('ready');
  const [vf0, vf1] = (await new Sriov(PF).setNumVfs(2)) as [string, string];
  await bind(vf0, 'igbvf');
  const name = networkInterface(vf0);
  const statistic = (what: string) => readFileSync(`/sys/class/net/${name}/${what}`, 'utf8').trim();
  ip('link', 'set', name, 'up');
  await until(() => statistic('carrier') === '1');

  const vf = startVf(vf1, '--tx', '500', '--to', statistic('address'));
  expect(await vf.finish()).toMatchObject({ tx: 500 });
  await until(() => Number(statistic('statistics/rx_packets')) >= 500);
  expect(statistic('statistics/rx_errors')).toBe('0');

  if (hasVlans) ip('link', 'add', 'link', name, 'name', 'vlan42', 'type', 'vlan', 'id', '42');
  ip('link', 'set', name, 'address', '02:00:00:00:00:77');
  await pf.stop();
  const requests = (request: string) => count(pf.reports, 'mailbox', { vf: 0, request });
  const made = ['set-mac', 'set-multicast', 'clear-mac-filters', ...(hasVlans ? ['set-vlan'] : [])];
  for (const request of made) {
    expect([request, requests(request)]).not.toEqual([request, 0]);
  }
  expect(count(pf.reports, 'mailbox', { accepted: false })).toBe(0);
});

test("VFs work under the kernel's igb", async () => {
  execFileSync('modprobe', ['igb']);
  await bind(PF, 'igb');
  ip('link', 'set', networkInterface(PF), 'up');
  const vfs = (await new Sriov(PF).setNumVfs(2)) as [string, string];
  for (const vf of vfs) await bind(vf, 'vfio-pci');
  const receiver = start('vf', vfs[1], '--expect', '1000');
  const sender = start('vf', vfs[0], '--tx', '1000', '--to', await macOf(receiver));
  expect(await sender.finish()).toMatchObject({ tx: 1000 });
  expect(await receiver.finish()).toMatchObject({ rx: 1000, bad: 0, lost: 0 });
});

test('a VF survives its PF driver being replaced', async () => {
  await bind(PF, 'vfio-pci');
  const first = startPf('--vfs', '2');
  const [vf0, vf1] = (await vfsOf(first)) as [string, string];
  const receiver = startVf(vf1, '--expect', '1000');
  const mac = await macOf(receiver);
  await first.stop();
  await startPf().report('ready');
  expect(await receiver.report('reset')).toMatchObject({ mac });
  await startVf(vf0, '--tx', '1000', '--to', mac).finish();
  expect(await receiver.finish()).toMatchObject({ rx: 1000, bad: 0 });
});

test('a VF without a PF driver is told so', async () => {
  await bind(PF, 'vfio-pci');
  const pf = startPf('--vfs', '1');
  const [vf0] = (await vfsOf(pf)) as [string];
  await pf.stop();
  await expect(startVf(vf0).finish()).rejects.toThrow(/ended with 1: vf: .*in reset.*\n +hint: /);
});

test('afterwards the PF is as it was', () => {
  expect(readPciDevice(PF).driver).not.toBe('vfio-pci');
  expect(new Sriov(PF).numVfs).toBe(0);
});

// Loaded, they would take the devices of the tests that follow.
afterAll(() => execFileSync('modprobe', ['-r', 'igbvf', 'igb']));
