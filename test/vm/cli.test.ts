/**
 * The command in the lab: on the real kernel, with real drivers.
 *
 * @kernel stock
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { findDevice, findDevices } from './lab-devices';
import { driverOf, holder, json, letGo, main, vfio } from './vfio-command';

describe('the two functions of one group', () => {
  const [first, second] = findDevices('e1000e').map(({ bdf }) => bdf) as [string, string];
  const drivers = () => [first, second].map(driverOf);

  beforeAll(() => execFileSync('modprobe', ['e1000e']));
  afterAll(async () => {
    await vfio('restore', '--force');
    execFileSync('modprobe', ['-r', 'e1000e']);
  });

  test('they cannot have different owners, and why', async () => {
    expect(drivers()).toEqual(['e1000e', 'e1000e']);
    const { status, out } = await vfio('topology', '--split', first, second);
    expect(status).toBe(2);
    expect(out).toMatch(/^no\n {2}both are in IOMMU group \d+\n {2}functions of one slot/);
    expect(out).toContain(`no ACS in ${first} and ${second}\n`);
  });

  test('one is bound, and bind, list and doctor name the driver that blocks it', async () => {
    const bound = await vfio('bind', first);
    expect(bound).toMatchObject({ status: 0, err: '' });
    expect(bound.out).toContain(`${second} (e1000e)`);
    expect(drivers()).toEqual(['vfio-pci', 'e1000e']);
    expect(await json('list', '--driver', 'vfio-pci')).toMatchObject([
      { bdf: first, readiness: 'blocked', blockers: [`${second} (e1000e)`] },
    ]);
    const doctor = await vfio('doctor', first);
    expect(doctor.status).toBe(2);
    expect(doctor.out).toMatch(new RegExp(`group-blocked: .*${second} \\(e1000e\\)`));
    expect(doctor.out).toContain(`$ vfio bind ${second}\n`);
  });

  test('--group binds both, and restore gives both back', async () => {
    expect((await vfio('bind', first, '--group')).status).toBe(0);
    expect(drivers()).toEqual(['vfio-pci', 'vfio-pci']);
    expect((await vfio('restore')).status).toBe(0);
    expect(drivers()).toEqual(['e1000e', 'e1000e']);
  });

  test('a bind that is killed midway is undone by restore', async () => {
    const child = spawn(process.execPath, [main, 'bind', first, second]);
    const record = `/run/vfio/${first}.json`;
    while (!existsSync(record) && child.exitCode === null) await new Promise(setImmediate);
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    expect(child.signalCode).toBe('SIGKILL');
    expect((await vfio('restore')).status).toBe(0);
    expect(drivers()).toEqual(['e1000e', 'e1000e']);
    expect(existsSync(record)).toBe(false);
  });

  test('a bind that is asked to end midway undoes itself', async () => {
    const child = spawn(process.execPath, [main, 'bind', first, second]);
    let errors = '';
    child.stderr.on('data', (text) => {
      errors += text;
    });
    const record = `/run/vfio/${first}.json`;
    while (!existsSync(record) && child.exitCode === null) await new Promise(setImmediate);
    child.kill('SIGTERM');
    const [status] = await once(child, 'close');
    expect([status, errors]).toEqual([1, 'vfio: ended by SIGTERM\n']);
    expect(drivers()).toEqual(['e1000e', 'e1000e']);
    expect(existsSync(record)).toBe(false);
  });

  test('what another process has open is not taken away, and it is named with its pid', async () => {
    await vfio('bind', first, '--group');
    const child = await holder(first);
    const pid = `(pid ${child.pid}) by fd`;
    const restored = await vfio('restore', first);
    expect([restored.status, restored.err]).toEqual([1, expect.stringContaining(pid)]);
    const doctor = await vfio('doctor', first);
    expect(doctor.out).toMatch(/(group|device)-held: /);
    expect(doctor.out).toContain(pid);
    expect(JSON.stringify(await json('info', first))).toContain(pid);
    await letGo(child);
    expect((await vfio('restore')).status).toBe(0);
    expect(drivers()).toEqual(['e1000e', 'e1000e']);
  });
});

test('info, config, regs and reset of edu', async () => {
  const { bdf } = findDevice('edu');
  expect((await vfio('bind', bdf)).status).toBe(0);
  expect(await json('info', bdf)).toMatchObject({ driver: 'vfio-pci', readiness: 'ready' });
  expect((await json('config', bdf)).header.vendorId).toBe(0x1234);
  const refused = await vfio('regs', bdf, 'bar0');
  expect([refused.status, refused.err]).toEqual([1, expect.stringContaining('--unsafe-read')]);
  const registers = await vfio('regs', bdf, 'bar0', '--unsafe-read', '--length', '8');
  // Identification: 0x010000ed (docs/specs/edu.rst of QEMU).
  expect(registers.out).toMatch(/^0x0000 {2}0x010000ed\n0x0004 {2}0x[0-9a-f]{8}\n$/);
  const reset = await vfio('reset', bdf);
  expect(reset.status === 0 || /no reset of its own/.test(reset.err)).toBe(true);
  expect((await vfio('restore', bdf)).status).toBe(0);
});

test('doctor finds nothing that blocks the lab', async () => {
  const found = (await json('doctor')) as { id: string; level: string }[];
  expect(found.filter(({ level }) => level === 'blocked')).toEqual([]);
  expect(found.map(({ id }) => id)).toEqual(
    expect.arrayContaining(['iommu-on', 'interrupt-remapping', 'vfio-pci', 'interfaces']),
  );
});
