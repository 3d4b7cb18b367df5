/** The VFs of a PF as a transaction: those that there were come back. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bindCommand, restoreCommand } from '../../src/cli/bind';
import { sriovCommand } from '../../src/cli/sriov';
import { loadVfs, saveVfs } from '../../src/pci/binding/saved-vfs';
import { Sriov } from '../../src/pci/sriov';
import { readPciDevice } from '../../src/pci/sysfs';
import * as machines from '../fixtures/machines';
import { blockingWrite, bootDriverCore, refuseVfs, whileProbing, writes } from './fake-driver-core';
import { bootMachine, removeMachine } from './fake-machine';
import { STATE } from './fake-machine-paths';
import { runCommand as run } from './run-command';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));
jest.mock('../../src/pci/blocking-write', () => require('./fake-driver-core'));
const mockOpen = jest.fn((_bdf: string, _options: object) =>
  Promise.resolve({ close: async () => {} }),
);
jest.mock('../../src/device/open', () => ({
  openDevice: (bdf: string, options: object) => mockOpen(bdf, options),
}));

/** With two VFs under vfio-pci, which their own driver would not be. */
const PF = '0000:03:00.0';
const VFS = ['0000:03:10.0', '0000:03:10.2'];
const TOKEN = '2ab74924-c335-45f4-9b16-8569e5b08258';
const record = join(STATE, 'vfs', `${PF}.json`);

beforeEach(() => {
  bootMachine(machines.sriovServer);
  bootDriverCore({ [VFS[0]!]: 'igbvf', [VFS[1]!]: 'igbvf' });
  for (const bdf of VFS)
    writeFileSync(join(readPciDevice(bdf).path, 'driver_override'), 'vfio-pci\n');
  mockOpen.mockClear();
});
afterAll(removeMachine);

const present = () => ({
  count: new Sriov(PF).numVfs,
  drivers: VFS.map((bdf) => readPciDevice(bdf).driver),
});
const asBefore = { count: 2, drivers: ['vfio-pci', 'vfio-pci'] };

test('another number goes by way of 0, and leaves no record', async () => {
  expect((await run(sriovCommand, PF, '3')).out).toMatch(/^0000:03:00.0: 2 -> 3 VFs\n/);
  expect(present()).toMatchObject({ count: 3 });
  expect(existsSync(record)).toBe(false);
});

test('a number that the driver refuses: the old VFs are back, under their drivers', async () => {
  refuseVfs(3);
  expect(await run(sriovCommand, PF, '3')).toEqual({
    status: 1,
    out: '',
    err: expect.stringContaining('setting 3 VFs of 0000:03:00.0: ENOSPC\n'),
  });
  expect(present()).toEqual(asBefore);
  expect(existsSync(record)).toBe(false);
});

test('where they do not come back, both failures are told, and restore tries again', async () => {
  refuseVfs(2, 3);
  const { status, err } = await run(sriovCommand, PF, '3');
  expect([status, err]).toEqual([
    1,
    expect.stringMatching(
      /setting 3 VFs of \S+: ENOSPC; and going back: setting 2 VFs of \S+: ENOSPC\nvfio: vfio restore/,
    ),
  ]);
  expect([present().count, existsSync(record)]).toEqual([0, true]);
  refuseVfs();
  expect((await run(restoreCommand)).out).toBe(`${PF}: 2 VFs are back\n`);
  expect(present()).toEqual(asBefore);
  expect(existsSync(record)).toBe(false);
});

test('a signal on the way through 0', async () => {
  whileProbing(() => process.emit('SIGTERM', 'SIGTERM'));
  expect((await run(sriovCommand, PF, '3')).err).toBe('vfio: ended by SIGTERM\n');
  expect(present()).toEqual(asBefore);
});

test('a number that the kernel takes and does not have', async () => {
  whileProbing(() => writeFileSync(join(readPciDevice('03:00.1').path, 'sriov_numvfs'), '1\n'));
  const { status, err } = await run(sriovCommand, '03:00.1', '4');
  // The first write was that of 0, which left none.
  expect([status, err]).toEqual([1, expect.stringContaining('0000:03:00.1 has 1 VFs, not 4')]);
});

test('what a killed change lost, the next brings back before it begins', async () => {
  mkdirSync(join(STATE, 'vfs'), { recursive: true });
  const vfs = VFS.map((bdf) => ({ bdf, before: { driver: 'vfio-pci', override: 'vfio-pci' } }));
  writeFileSync(record, JSON.stringify({ pf: PF, vendor: 0x8086, device: 0x10c9, vfs }));
  await blockingWrite(join(readPciDevice(PF).path, 'sriov_numvfs'), '0');
  expect((await run(sriovCommand, PF, '3')).out).toMatch(/^0000:03:00.0: 2 -> 3 VFs\n/);
  expect(writes().filter((text) => text.includes('numvfs'))).toEqual(
    ['0', '2', '0', '3'].map((count) => `${PF}/sriov_numvfs ${count}`),
  );
});

test('a damaged record is told, not followed', async () => {
  mkdirSync(join(STATE, 'vfs'), { recursive: true });
  writeFileSync(record, JSON.stringify({ pf: PF, vfs: [{ bdf: '../x', before: {} }] }));
  const { status, err } = await run(restoreCommand);
  expect([status, err]).toEqual([1, expect.stringContaining('is no record of VFs')]);
  expect(writes()).toEqual([]);
});

describe('with a VF open in a process', () => {
  beforeEach(() => {
    const { files, links, ...machine } = machines.sriovServer;
    bootMachine({
      ...machine,
      files: { ...files, 'proc/77/comm': 'dpdk\n' },
      links: { ...links, 'proc/77/fd/5': 'dev/vfio/22' },
    });
  });

  test.each([
    ['another number', sriovCommand, [PF, '3']],
    ['another driver for the PF', bindCommand, [PF, '--driver', 'igb']],
    ['giving the PF back', restoreCommand, [PF]],
  ] as const)('%s is refused, unless forced', async (_, command, args) => {
    const { status, err } = await run(command, ...args);
    expect([status, err]).toEqual([
      1,
      expect.stringMatching(
        /^vfio: the VF 0000:03:10.0 is in use: open in dpdk \(pid 77\) by fd 5\nvfio: .*--force/,
      ),
    ]);
    expect(writes()).toEqual([]);
    expect((await run(command, ...args, '--force')).err).not.toContain('in use');
    expect(writes()).not.toEqual([]);
  });
});

test('a token is set before the VFs are there', async () => {
  expect((await run(sriovCommand, PF, '3', '--vf-token', TOKEN)).status).toBe(0);
  expect(mockOpen.mock.calls).toEqual([[PF, { vfToken: TOKEN }]]);
});

test('Sriov.setNumVfs() is the same transaction: what is refused leaves the old VFs', async () => {
  refuseVfs(3);
  await expect(new Sriov(PF).setNumVfs(3)).rejects.toMatchObject({ code: 'ENOSPC' });
  expect(present()).toEqual(asBefore);
  expect(existsSync(record)).toBe(false);
});

test('a token for the same number of VFs would reset the PF under them, while one is open', async () => {
  const { files, links, ...machine } = machines.sriovServer;
  bootMachine({
    ...machine,
    files: { ...files, 'proc/77/comm': 'dpdk\n' },
    links: { ...links, 'proc/77/fd/5': 'dev/vfio/22' },
  });
  expect((await run(sriovCommand, PF, '2', '--vf-token', TOKEN)).err).toMatch(/is in use/);
  expect(mockOpen).not.toHaveBeenCalled();
  expect((await run(sriovCommand, PF, '2', '--vf-token', TOKEN, '--force')).err).toBe('');
  expect(mockOpen).toHaveBeenCalledTimes(1);
});

describe('the token from a file, which no other user sees in ps', () => {
  const file = join(STATE, 'token');
  const fromFile = (...args: string[]) =>
    run(sriovCommand, PF, '3', '--vf-token-file', file, ...args);

  test('is taken, without the line break at its end', async () => {
    mkdirSync(STATE, { recursive: true });
    writeFileSync(file, `${TOKEN}\n`);
    expect((await fromFile()).status).toBe(0);
    expect(mockOpen.mock.calls).toEqual([[PF, { vfToken: TOKEN }]]);
    expect((await fromFile('--vf-token', TOKEN)).err).toMatch(/given twice/);
  });

  test('that is not there, or has none', async () => {
    expect((await fromFile()).err).toMatch(/reading the VF token from .*: ENOENT/);
    mkdirSync(STATE, { recursive: true });
    writeFileSync(file, 'secret');
    const { err } = await fromFile();
    expect(err).toMatch(/the VF token is no UUID/);
    expect(err).not.toContain('secret');
    expect(writes()).toEqual([]);
  });
});

test('a record of as many VFs as a PF can have is read in full', async () => {
  const vfs = Array.from({ length: 65_535 }, (_, i) => ({
    bdf: `0000:${(i >> 8).toString(16).padStart(2, '0')}:${((i >> 3) & 31).toString(16).padStart(2, '0')}.${i & 7}`,
    before: { driver: 'vfio-pci', override: 'vfio-pci' },
  }));
  const saved = { pf: PF, vendor: 0x8086, device: 0x10c9, vfs };
  saveVfs(saved);
  expect(loadVfs(PF)).toEqual(saved);
});
