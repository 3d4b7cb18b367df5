/** All devices or none, whatever comes between. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs, { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bindCommand, restoreCommand } from '../../src/cli/bind';
import { bindDriver } from '../../src/pci/binding/bind-transaction';
import { readPciDevice } from '../../src/pci/sysfs';
import * as machines from '../fixtures/machines';
import {
  bootDriverCore,
  refuse,
  refuseVfs,
  refuseWrites,
  whileProbing,
  writes,
} from './fake-driver-core';
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

test('the lock cannot be made: the hint says why, or nothing', async () => {
  const real = fs.openSync;
  const open = jest.spyOn(fs, 'openSync');
  for (const [code, hint] of [
    ['EROFS', /read-only/],
    ['EMFILE', /limit of open files/],
    ['EIO', /dmesg/],
  ] as const) {
    open.mockImplementation((path, ...args) => {
      if (String(path).endsWith('/lock')) throw Object.assign(new Error(code), { code });
      return real(path, ...args);
    });
    await expect(bindDriver(SOUND)).rejects.toMatchObject({
      code,
      hint: expect.stringMatching(hint),
    });
  }
  open.mockRestore();
});

describe('bindDriver()', () => {
  test('is the guarded transaction of the command: recorded, so that any process gives it back', async () => {
    const binding = await bindDriver(SOUND);
    expect(JSON.parse(readFileSync(record(SOUND), 'utf8'))).toMatchObject({ complete: true });
    expect((await run(restoreCommand)).out).toBe(`${SOUND}: vfio-pci -> snd_hda_intel\n`);
    // What was given back already is left as it is.
    await binding.restore();
    expect(driverOf(SOUND)).toBe('snd_hda_intel');
    expect(existsSync(record(SOUND))).toBe(false);
  });

  test('a mounted disk takes { force: true }', async () => {
    bootMachine({ ...machines.mountedDisk });
    bootDriverCore({ [DISK]: 'nvme' });
    await expect(bindDriver(DISK)).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringContaining('is mounted on /'),
      hint: expect.stringContaining('{ force: true }'),
    });
    expect(writes()).toEqual([]);
    const binding = await bindDriver(DISK, 'vfio-pci', { force: true });
    // The machine does not change: to it, the disk is still mounted.
    await binding.restore({ force: true });
    expect(driverOf(DISK)).toBe('nvme');
  });

  test('a restore that fails may be tried again', async () => {
    const binding = await bindDriver(SOUND);
    refuseWrites('EBUSY', /unbind$/);
    await expect(binding.restore()).rejects.toMatchObject({ code: 'EBUSY' });
    expect([driverOf(SOUND), existsSync(record(SOUND))]).toEqual(['vfio-pci', true]);
    refuseWrites('EBUSY', /^$/);
    await binding.restore();
    expect([driverOf(SOUND), existsSync(record(SOUND))]).toEqual(['snd_hda_intel', false]);
  });

  test('several at once wait for each other', async () => {
    const bindings = await Promise.all([SOUND, DISK].map((bdf) => bindDriver(bdf)));
    expect(drivers()).toEqual(['vfio-pci', 'vfio-pci']);
    await Promise.all(bindings.map((binding) => binding.restore()));
    expect(drivers()).toEqual(['snd_hda_intel', 'nvme']);
  });
});

test('bound to something else by hand in between: that is what comes back', async () => {
  await run(bindCommand, SOUND);
  const device = readPciDevice(SOUND).path;
  mkdirSync(join(SYS, 'bus/pci/drivers/igb_uio'), { recursive: true });
  writeFileSync(join(SYS, 'bus/pci/drivers/igb_uio/unbind'), '');
  rmSync(join(device, 'driver'));
  fs.symlinkSync(join(SYS, 'bus/pci/drivers/igb_uio'), join(device, 'driver'));
  writeFileSync(join(device, 'driver_override'), 'igb_uio\n');
  await run(bindCommand, SOUND);
  expect((await run(restoreCommand)).out).toBe(`${SOUND}: vfio-pci -> igb_uio\n`);
  expect(driverOf(SOUND)).toBe('igb_uio');
});

describe('another card at the address of a record', () => {
  /** It carries the default route, and its driver is the kernel's choice. */
  async function swap(): Promise<void> {
    await run(bindCommand, SOUND);
    const { path } = readPciDevice(SOUND);
    writeFileSync(join(path, 'device'), '0x10d3\n');
    writeFileSync(join(path, 'driver_override'), '(null)\n');
    rmSync(join(path, 'driver'));
    mkdirSync(join(SYS, 'bus/pci/drivers/e1000e'), { recursive: true });
    fs.symlinkSync(join(SYS, 'bus/pci/drivers/e1000e'), join(path, 'driver'));
  }

  test('the record is dropped, and the card left alone', async () => {
    await swap();
    const before = writes().length;
    expect(await run(restoreCommand)).toEqual({
      status: 0,
      out: `removed ${record(SOUND)}\n`,
      err: '',
    });
    expect([driverOf(SOUND), writes().length]).toEqual(['e1000e', before]);
  });

  test('so it is by Binding.restore()', async () => {
    const binding = await bindDriver(SOUND);
    await swap();
    const before = writes().length;
    await binding.restore();
    expect([driverOf(SOUND), writes().length, existsSync(record(SOUND))]).toEqual([
      ...['e1000e', before],
      false,
    ]);
  });
});

test('a driver whose name means something in a udev rule gets none', async () => {
  const driver = 'x$(reboot)"';
  mkdirSync(join(SYS, 'bus/pci/drivers', driver), { recursive: true });
  const { status, err } = await run(
    bindCommand,
    SOUND,
    '--driver',
    driver,
    '--persist',
    '--dry-run',
  );
  expect([status, err]).toEqual([1, expect.stringContaining('no udev rule can name')]);
});

describe('VFs go with the driver of their PF', () => {
  const PF = '0000:03:00.0';
  const VFS = ['0000:03:10.0', '0000:03:10.2'];

  beforeEach(() => {
    const { [PF]: pf, ...others } = machines.sriovServer.devices;
    const idle = VFS.map((bdf) => [bdf, { ...others[bdf]!, driver: 'igbvf' }]);
    bootMachine({
      ...machines.sriovServer,
      devices: { [PF]: { ...pf!, driver: 'igb' }, ...others, ...Object.fromEntries(idle) },
    });
    bootDriverCore({ [PF]: 'igb', [VFS[0]!]: 'igbvf', [VFS[1]!]: 'igbvf' });
  });

  const vfDrivers = () => VFS.map(driverOf);

  test('it is said, and they are brought back', async () => {
    expect((await run(bindCommand, PF)).out).toBe(
      `${PF}: igb -> vfio-pci\n${PF}: its 2 VFs go with its driver; vfio restore ${PF} brings them back\n`,
    );
    expect(vfDrivers()).toEqual([undefined, undefined]);
    expect((await run(restoreCommand)).out).toBe(
      `${PF}: vfio-pci -> igb\n${PF}: its 2 VFs come back\n`,
    );
    expect([driverOf(PF), ...vfDrivers()]).toEqual(['igb', 'igbvf', 'igbvf']);
    expect(writes()).toContain(`${PF}/sriov_numvfs 2`);
  });

  test('by a Binding, too, and after a bind that fails', async () => {
    const binding = await bindDriver(PF);
    await binding.restore();
    expect(vfDrivers()).toEqual(['igbvf', 'igbvf']);
    refuse(PF);
    await expect(bindDriver(PF)).rejects.toMatchObject({ code: 'ERR_VFIO_BIND_FAILED' });
    expect([driverOf(PF), ...vfDrivers()]).toEqual(['igb', 'igbvf', 'igbvf']);
  });

  test('those that cannot be made again stay recorded: the next restore tries again', async () => {
    await run(bindCommand, PF);
    refuseVfs(2);
    expect((await run(restoreCommand)).err).toMatch(/its 2 VFs are not all back: .*ENOSPC/);
    expect(driverOf(PF)).toBe('igb');
    refuseVfs();
    expect((await run(restoreCommand)).out).toContain(`${PF}: 2 VFs are back`);
    expect(vfDrivers()).toEqual(['igbvf', 'igbvf']);
  });
});
