/** The command in the lab: on the real kernel, with real drivers. */
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openDevice, readPciDevice } from 'vfio';
import { findDevice, findDevices } from './lab-devices';

// Each command is a process, which takes seconds to start on an emulated processor.
jest.setTimeout(300_000);

const main = join(__dirname, '../../dist/src/cli/main.js');

function vfio(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], (error, out, err) =>
      resolve({ status: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}

const json = async (...args: string[]) => JSON.parse((await vfio(...args, '--json')).out);
const driverOf = (bdf: string) => readPciDevice(bdf).driver;

describe('the two functions of one group', () => {
  const [first, second] = findDevices('e1000e').map(({ bdf }) => bdf) as [string, string];
  const initial = driverOf(first);

  afterAll(async () => {
    await vfio('restore', '--force');
  });

  test('one is bound, and the list names who blocks it', async () => {
    expect(await vfio('bind', first)).toMatchObject({ status: 0, err: '' });
    expect(driverOf(first)).toBe('vfio-pci');
    const [listed] = (await json('list', '--driver', 'vfio-pci')) as { blockers: string[] }[];
    const other = driverOf(second);
    expect(listed!.blockers).toEqual(other === undefined ? [] : [`${second} (${other})`]);
  });

  test('--group binds both, and restore gives both back', async () => {
    expect((await vfio('bind', first, '--group')).status).toBe(0);
    expect([driverOf(first), driverOf(second)]).toEqual(['vfio-pci', 'vfio-pci']);
    expect((await vfio('restore')).status).toBe(0);
    expect([driverOf(first), driverOf(second)]).toEqual([initial, initial]);
  });

  test('a bind that is killed midway is undone by restore', async () => {
    const child = spawn(process.execPath, [main, 'bind', first, second]);
    const record = `/run/vfio/${first}.json`;
    while (!existsSync(record) && child.exitCode === null) await new Promise(setImmediate);
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) {
      await new Promise((resolve) => child.once('exit', resolve));
    }
    expect(child.signalCode).toBe('SIGKILL');
    expect((await vfio('restore')).status).toBe(0);
    expect([driverOf(first), driverOf(second)]).toEqual([initial, initial]);
    expect(existsSync(record)).toBe(false);
  });

  test('an open device is not taken away, and its holder is named with its pid', async () => {
    await vfio('bind', first, '--group');
    const device = await openDevice(first);
    const { status, err } = await vfio('restore', first);
    expect(status).toBe(1);
    expect(err).toContain(`(pid ${process.pid})`);
    await device.close();
    expect((await vfio('restore')).status).toBe(0);
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
