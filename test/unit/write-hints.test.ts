/** For every errno at every write to sysfs, the hint is true, or there is none. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bindCommand } from '../../src/cli/bind';
import { createMdev, removeMdev } from '../../src/device/mdev';
import { resetDevice } from '../../src/device/reset';
import type { VfioError } from '../../src/errors';
import { bindDriver } from '../../src/pci/binding/bind-transaction';
import { restoreDevices } from '../../src/pci/binding/restore';
import { Sriov } from '../../src/pci/sriov';
import * as machines from '../fixtures/machines';
import { bootDriverCore, refuseWrites } from './fake-driver-core';
import { bootMachine, removeMachine } from './fake-machine';
import { STATE, SYS } from './fake-machine-paths';
import { runCommand } from './run-command';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));
jest.mock('../../src/pci/blocking-write', () => require('./fake-driver-core'));
// Taking it each time would cost a process.
jest.mock('../../src/pci/binding/state-lock', () => ({
  withStateLock: (change: () => Promise<unknown>) => change(),
}));

afterEach(() => jest.restoreAllMocks());
afterAll(removeMachine);

const GPU = '0000:01:00.0';
const SOUND = '0000:01:00.1';
const PF = '0000:03:00.0';
const UUID = '2ab74924-c335-45f4-9b16-8569e5b08258';

const ERRNOS = [
  ...['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENODEV', 'ENXIO', 'EBUSY', 'EINVAL', 'EIO', 'ENOMEM'],
  ...['ENOSPC', 'ERANGE', 'EEXIST', 'EUSERS', 'ENOTTY', 'EOPNOTSUPP', 'ETIMEDOUT', 'EAGAIN'],
  ...['EINTR', 'EMFILE', 'ENFILE', 'E2BIG', 'EPIPE', 'ESTALE'],
] as const;
type Errno = (typeof ERRNOS)[number];

/** What hints can claim, and the errnos, or else the state, of which that is true. */
const claims: readonly [claim: RegExp, isTrue: (code: Errno, site: string) => boolean][] = [
  [/needs root/, () => false],
  [/root of a container/, (code) => code === 'EACCES' || code === 'EPERM'],
  [/read-only/, (code) => code === 'EROFS'],
  [/limit of open files/, (code) => code === 'EMFILE' || code === 'ENFILE'],
  [/no longer there/, (code) => code === 'ENODEV'],
  [/enable_sriov=1: modprobe/, (code, site) => noSriov(code) && site === 'VFs of vfio-pci'],
  [/has no SR-IOV/, (code, site) => noSriov(code) && site === 'VFs of uio'],
  [/no driver is bound/, (code, site) => noSriov(code) && site === 'VFs without a driver'],
  [/MSI-X/, (code, site) => ['ENOSPC', 'ENOMEM'].includes(code) && site.startsWith('VFs')],
  [/leave the UUID out/, (code) => code === 'EEXIST'],
  [/none left/, (code) => code === 'EUSERS' || code === 'ENOSPC'],
  [/its bus may have a reset/, (code) => code === 'ENOENT' || code === 'ENOTTY'],
  [/dmesg/, (code) => /^(EBUSY|EINVAL|EIO|ENOSPC|ENOMEM|ENXIO|ERANGE|ETIMEDOUT)$/.test(code)],
  // Nothing else is known.
  [/./, () => true],
];
const noSriov = (code: Errno) => code === 'ENOENT' || code === 'EOPNOTSUPP';

const force = { force: true };
const file = (path: string) => {
  mkdirSync(dirname(join(SYS, path)), { recursive: true });
  writeFileSync(join(SYS, path), '');
};

function pfUnder(driver: string | undefined): void {
  const { driver: _, ...pf } = machines.sriovServer.devices[PF]!;
  const device = driver === undefined ? pf : { ...pf, driver };
  bootMachine({ ...machines.sriovServer, devices: { [PF]: device } });
  bootDriverCore({});
}

const oneVf = () => new Sriov(PF).setNumVfs(1);

function card(): void {
  bootMachine(machines.multiFunctionCard);
  bootDriverCore({ [GPU]: 'nouveau', [SOUND]: 'snd_hda_intel' });
  file(`bus/pci/devices/${SOUND}/reset`);
  file('class/mdev_bus/mtty/mdev_supported_types/mtty-1/create');
  file(`bus/mdev/devices/${UUID}/remove`);
}

interface Site {
  readonly path: RegExp;
  readonly boot?: () => void;
  readonly call: () => Promise<unknown>;
}

const sites: Readonly<Record<string, Site>> = {
  unbind: { path: /unbind$/, call: () => bindDriver(SOUND) },
  override: { path: /driver_override$/, call: () => bindDriver(SOUND) },
  probe: { path: /drivers_probe$/, call: () => bindDriver(SOUND) },
  restore: {
    path: /unbind$/,
    call: async () => {
      for (const { error } of await restoreDevices([GPU])) if (error) throw error;
    },
  },
  reset: { path: /reset$/, call: () => resetDevice(SOUND, force) },
  createMdev: { path: /create$/, call: () => createMdev({ parent: 'mtty', id: 'mtty-1' }, UUID) },
  removeMdev: { path: /remove$/, call: () => removeMdev(UUID) },
  'VFs of vfio-pci': { path: /numvfs$/, boot: () => pfUnder('vfio-pci'), call: oneVf },
  'VFs of uio': { path: /numvfs$/, boot: () => pfUnder('uio'), call: oneVf },
  'VFs without a driver': { path: /numvfs$/, boot: () => pfUnder(undefined), call: oneVf },
};

function attempt(site: string, code: Errno): Promise<VfioError> {
  const { path, boot = card, call } = sites[site]!;
  boot();
  refuseWrites(code, path);
  return call().then(
    () => Promise.reject(new Error('it did not fail')),
    (error) => error,
  );
}

describe.each(Object.keys(sites))('%s', (site) => {
  test.each(ERRNOS)('%s', async (code) => {
    // As a user whose rights are not what is missing.
    jest.spyOn(process, 'geteuid').mockReturnValue(0);
    const error = await attempt(site, code);
    expect(error).toMatchObject({ name: 'VfioError' });
    const codes = site === 'reset' && /ENOENT|ENOTTY/.test(code) ? ['ERR_VFIO_NO_RESET'] : [code];
    expect(codes).toContain(error.code);
    if (error.hint === undefined) return;
    expect(error.hint).not.toBe('');
    for (const [claim, isTrue] of claims) {
      if (claim.test(error.hint) && !isTrue(code, site)) {
        throw new Error(`${site}, ${code}: ${error.hint}`);
      }
    }
  });
});

test('the errno that matters most have their hint', async () => {
  const hintOf = async (code: Errno, site: string) => (await attempt(site, code)).hint;
  expect(await hintOf('ENOSPC', 'VFs of vfio-pci')).toMatch(/MSI-X vectors, bus numbers.*dmesg/);
  expect(await hintOf('ENOENT', 'VFs of vfio-pci')).toMatch(/enable_sriov=1/);
  expect(await hintOf('ENOENT', 'VFs of uio')).toMatch(/the driver uio has no SR-IOV/);
  expect(await hintOf('ENOENT', 'VFs without a driver')).toMatch(/no driver is bound to the PF/);
  expect(await hintOf('EROFS', 'unbind')).toMatch(/read-only/);
  jest.spyOn(process, 'geteuid').mockReturnValue(1000);
  expect(await hintOf('EACCES', 'unbind')).toMatch(/needs root/);
});

test('/sys that is read-only: nothing was changed, and no record stays', async () => {
  card();
  refuseWrites('EROFS');
  const { status, err } = await runCommand(bindCommand, SOUND);
  expect([status, err]).toEqual([1, expect.stringMatching(/EROFS\nvfio: .*mounted read-only/)]);
  expect(err).not.toContain('going back');
  expect(existsSync(join(STATE, `${SOUND}.json`))).toBe(false);
});
