/** Restoring where not all is as bind has left it: each device by itself. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bindCommand, restoreCommand } from '../../src/cli/bind';
import { saveBinding } from '../../src/pci/binding/saved-bindings';
import { readPciDevice } from '../../src/pci/sysfs';
import * as machines from '../fixtures/machines';
import { bootDriverCore, writes } from './fake-driver-core';
import { bootMachine, removeMachine } from './fake-machine';
import { STATE, SYS, UDEV_RULES } from './fake-machine-paths';
import { runCommand as run } from './run-command';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));
jest.mock('../../src/pci/blocking-write', () => require('./fake-driver-core'));

const GPU = '0000:01:00.0';
const SOUND = '0000:01:00.1';
/** Sorts before the others: it is tried first. */
const GONE = '0000:00:1f.0';

beforeEach(() => {
  bootMachine(machines.multiFunctionCard);
  bootDriverCore({ [GPU]: 'nouveau', [SOUND]: 'snd_hda_intel' });
});
afterAll(removeMachine);

const driverOf = (bdf: string) => readPciDevice(bdf).driver;
const record = (bdf: string) => join(STATE, `${bdf}.json`);
const saved = (bdf: string, driver: string, complete = true) =>
  saveBinding({
    ...{ bdf, vendor: 0x10de, device: 0x2204, before: { driver, override: '' } },
    ...{ driver: 'vfio-pci', vfs: [], complete },
  });

test('a device that was pulled out does not keep the others; its record goes', async () => {
  saved(GONE, 'nvme');
  await run(bindCommand, SOUND);
  expect(await run(restoreCommand)).toMatchObject({ status: 0, err: '' });
  expect([driverOf(SOUND), existsSync(record(GONE))]).toEqual(['snd_hda_intel', false]);
});

test('nor does a damaged record, which is told and not followed', async () => {
  await run(bindCommand, SOUND);
  writeFileSync(record(GPU), '{"bdf": 1');
  expect(await run(restoreCommand)).toEqual({
    status: 1,
    out: `${SOUND}: vfio-pci -> snd_hda_intel\n`,
    err: expect.stringMatching(/0000:01:00.0.json is no record of a binding\nvfio: remove it/),
  });
  saved(GPU, '../x');
  expect((await run(restoreCommand, GPU)).err).toMatch(/is no record of a binding/);
  expect(driverOf(GPU)).toBe('vfio-pci');
});

test('--json has the error of each device', async () => {
  await run(bindCommand, SOUND);
  writeFileSync(record(GPU), '');
  const { status, out, err } = await run(restoreCommand, '--json');
  expect([status, err, JSON.parse(out)]).toEqual([
    ...[1, ''],
    [
      expect.objectContaining({
        bdf: GPU,
        error: {
          code: 'ERR_VFIO_MALFORMED',
          message: expect.stringContaining('no record'),
          hint: expect.stringContaining('remove it'),
        },
      }),
      expect.objectContaining({ bdf: SOUND, to: 'snd_hda_intel', error: null }),
    ],
  ]);
});

test('an address that never was is refused', async () => {
  const { status, err } = await run(restoreCommand, GONE);
  expect([status, err]).toEqual([1, expect.stringContaining(`there is no PCI device ${GONE}`)]);
});

describe('what killed binds left does not keep the next from its work', () => {
  test('a device that is gone', async () => {
    saved(GONE, 'nvme', false);
    expect(await run(bindCommand, SOUND)).toMatchObject({ status: 0, err: '' });
    expect([driverOf(SOUND), existsSync(record(GONE))]).toEqual(['vfio-pci', false]);
  });

  test('a device whose old driver was unloaded: told, and left as it is', async () => {
    saved(GPU, 'nouveau', false);
    rmSync(join(SYS, 'bus/pci/drivers/nouveau'), { recursive: true, force: true });
    const { status, err } = await run(bindCommand, SOUND);
    expect([status, driverOf(SOUND)]).toEqual([0, 'vfio-pci']);
    expect(err).toMatch(/no PCI driver nouveau\nvfio: modprobe nouveau/);
    expect([driverOf(GPU), existsSync(record(GPU))]).toEqual(['vfio-pci', true]);
    expect(writes().join()).not.toContain(GPU);
  });

  test('a damaged record', async () => {
    saved(GPU, 'nouveau', false);
    writeFileSync(record(GPU), '');
    expect(await run(bindCommand, SOUND)).toMatchObject({ status: 0, err: '' });
  });
});

describe('the rule of --persist goes', () => {
  const rule = (bdf: string) => join(UDEV_RULES, `70-vfio-${bdf}.rules`);
  const reboot = () => rmSync(STATE, { recursive: true, force: true });

  test('after a reboot, with the device bound by it', async () => {
    await run(bindCommand, SOUND, '--persist');
    reboot();
    expect((await run(restoreCommand, '--dry-run')).out).toMatch(
      /driver_override\necho 0000:01:00.1 > .*drivers_probe\nrm .*70-vfio-0000:01:00.1.rules\n$/,
    );
    expect(await run(restoreCommand)).toEqual({
      status: 0,
      out: `${SOUND}: vfio-pci -> the kernel's choice\nremoved ${rule(SOUND)}\n`,
      err: '',
    });
    expect([driverOf(SOUND), existsSync(rule(SOUND))]).toEqual(['snd_hda_intel', false]);
  });

  test.each([[[]], [[SOUND]]])(
    'with the device under its own driver all the same, by %j',
    async (args) => {
      mkdirSync(UDEV_RULES, { recursive: true });
      writeFileSync(rule(SOUND), '');
      expect((await run(restoreCommand, ...args)).out).toBe(`removed ${rule(SOUND)}\n`);
      expect([existsSync(rule(SOUND)), writes()]).toEqual([false, []]);
    },
  );

  test('with the card pulled out', async () => {
    mkdirSync(UDEV_RULES, { recursive: true });
    writeFileSync(rule(GONE), '');
    saved(GONE, 'nvme');
    expect((await run(restoreCommand, GONE)).out).toBe(
      `removed ${rule(GONE)}\nremoved ${record(GONE)}\n`,
    );
    expect((await run(restoreCommand)).out).toBe('nothing to do\n');
  });
});

test('a rule that cannot be removed is told, and the device goes back', async () => {
  await run(bindCommand, SOUND);
  // No file, which not even root removes as one.
  const rule = join(UDEV_RULES, `70-vfio-${SOUND}.rules`);
  mkdirSync(rule, { recursive: true });
  const { status, out, err } = await run(restoreCommand);
  expect([status, out, err]).toEqual([1, '', expect.stringContaining(rule)]);
  expect(driverOf(SOUND)).toBe('snd_hda_intel');
});

test('a rule that cannot be written leaves nothing bound', async () => {
  // Root may write on all but what is no directory.
  mkdirSync(dirname(dirname(UDEV_RULES)), { recursive: true });
  writeFileSync(dirname(UDEV_RULES), '');
  const { status, out } = await run(bindCommand, SOUND, '--persist');
  expect([status, out]).toEqual([1, '']);
  expect([driverOf(SOUND), existsSync(record(SOUND))]).toEqual(['snd_hda_intel', false]);
});
