/** All devices or none, whatever comes between. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { bindCommand, restoreCommand } from '../../src/cli/bind';
import { bindDriver } from '../../src/pci/binding/bind-transaction';
import { readPciDevice } from '../../src/pci/sysfs';
import * as machines from '../fixtures/machines';
import { bootDriverCore, refuse, whileProbing, writes } from './fake-driver-core';
import { bootMachine, removeMachine } from './fake-machine';
import { STATE, SYS } from './fake-machine-paths';
import { runCommand as run } from './run-command';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));
jest.mock('../../src/pci/blocking-write', () => require('./fake-driver-core'));

const SOUND = '0000:01:00.1';
const DISK = '0000:02:00.0';

beforeEach(() => {
  bootMachine(machines.blockedGroup);
  bootDriverCore({ [SOUND]: 'snd_hda_intel', [DISK]: 'nvme' });
});
afterAll(removeMachine);

const driverOf = (bdf: string) => readPciDevice(bdf).driver;
const drivers = () => [SOUND, DISK].map(driverOf);
const record = (bdf: string) => join(STATE, `${bdf}.json`);

test('if the second device fails, the first is given back', async () => {
  refuse(DISK);
  expect(await run(bindCommand, SOUND, DISK)).toEqual({
    status: 1,
    out: '',
    err: expect.stringMatching(/0000:02:00.0 is bound to no driver, not to vfio-pci/),
  });
  expect(drivers()).toEqual(['snd_hda_intel', 'nvme']);
  expect(existsSync(record(SOUND))).toBe(false);
});

test('what cannot be given back is told, and its record stays', async () => {
  bootDriverCore({ [DISK]: 'nvme' });
  refuse(DISK);
  expect((await run(bindCommand, SOUND, DISK)).err).toMatch(
    /02:00.0 is bound to no driver, not to vfio-pci; and going back: 0000:01:00.1 is bound to no driver, not to snd_hda_intel\nvfio: .*vfio restore/,
  );
  expect(drivers()).toEqual([undefined, 'nvme']);
  expect([existsSync(record(SOUND)), existsSync(record(DISK))]).toEqual([true, false]);
});

test('bindDriver() tells of both failures, too', async () => {
  bootDriverCore({});
  refuse(SOUND);
  await expect(bindDriver(SOUND)).rejects.toThrow(
    /not to vfio-pci; and going back: 0000:01:00.1 is bound to no driver, not to snd_hda_intel/,
  );
});

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s midway: all go back', async (signal) => {
  whileProbing(() => process.emit(signal, signal));
  const listeners = process.listenerCount(signal);
  expect(await run(bindCommand, SOUND, DISK)).toEqual({
    status: 1,
    out: '',
    err: `vfio: ended by ${signal}\n`,
  });
  expect(drivers()).toEqual(['snd_hda_intel', 'nvme']);
  expect(existsSync(record(SOUND))).toBe(false);
  expect(process.listenerCount(signal)).toBe(listeners);
});

test('one process at a time', async () => {
  mkdirSync(STATE, { recursive: true });
  const other = spawn('flock', [join(STATE, 'lock'), 'sh', '-c', 'echo held; read line']);
  await once(other.stdout, 'data');
  const bound = run(bindCommand, SOUND);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(writes()).toEqual([]);
  other.stdin.end();
  expect((await bound).status).toBe(0);
  expect(driverOf(SOUND)).toBe('vfio-pci');
});

test.each(['.', '..', '', 'a/b', 'no-such'])('there is no driver %j', async (driver) => {
  const { status, err } = await run(bindCommand, SOUND, '--driver', driver);
  expect([status, err]).toEqual([1, expect.stringContaining('the kernel has no PCI driver')]);
  expect(writes()).toEqual([]);
});

test('variants of vfio-pci need an IOMMU, too', async () => {
  bootMachine(machines.laptop);
  bootDriverCore({ x: 'mlx5_vfio_pci' });
  const { err } = await run(bindCommand, '0000:01:00.0', '--driver', 'mlx5_vfio_pci');
  expect(err).toMatch(/is in no IOMMU group/);
  expect(writes()).toEqual([]);
});

test('a restore says which driver is to be loaded', async () => {
  await run(bindCommand, SOUND);
  rmSync(join(SYS, 'bus/pci/drivers/snd_hda_intel'), { recursive: true });
  const { status, err } = await run(restoreCommand, SOUND);
  expect([status, err]).toEqual([1, expect.stringContaining('vfio: modprobe snd_hda_intel\n')]);
  expect(driverOf(SOUND)).toBe('vfio-pci');
});
