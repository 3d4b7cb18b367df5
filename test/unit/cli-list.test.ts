import { listCommand } from '../../src/cli/list';
import * as machines from '../fixtures/machines';
import { bootMachine, removeMachine } from './fake-machine';
import { runCommand } from './run-command';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

const list = async (...flags: string[]) => (await runCommand(listCommand, ...flags)).out;

test('names, drivers, groups, SR-IOV and readiness of a server', async () => {
  bootMachine(machines.sriovServer);
  const igb = 'Intel Corporation 82576 Gigabit Network Connection [8086:10c9]';
  const vf = 'Intel Corporation 82576 Virtual Function [8086:10ca]';
  const lines = (await list()).split('\n').map((line) => line.split(/ {2,}/).join('|'));
  expect(lines).toEqual([
    'ADDRESS|DRIVER|GROUP|VFIO|SR-IOV|NUMA|DEVICE',
    '0000:00:00.0|-|0|bridge|-|-|Intel Corporation Bridge [8086:2f00]',
    '0000:00:03.0|pcieport|1|bridge|-|-|Intel Corporation PCI bridge [8086:2f08]',
    `0000:03:00.0|vfio-pci|20|ready|PF 2/7|1|${igb}`,
    `0000:03:00.1|igb|21|unbound|PF 0/7|1|${igb}`,
    `0000:03:10.0|vfio-pci|22|ready|VF 0 of 0000:03:00.0|1|${vf}`,
    `0000:03:10.2|vfio-pci|23|ready|VF 1 of 0000:03:00.0|1|${vf}`,
    '',
  ]);
});

test('a group that one driver blocks is told with its culprit', async () => {
  bootMachine(machines.multiFunctionCard);
  expect(await list()).toContain('\ngroup 1 is blocked by 0000:01:00.1 (snd_hda_intel)\n');
});

test('a group that two drivers block is told with both', async () => {
  bootMachine(machines.blockedGroup);
  expect(await list('--group', '1')).toContain(
    'group 1 is blocked by 0000:01:00.1 (snd_hda_intel), 0000:02:00.0 (nvme)\n',
  );
});

test('filters', async () => {
  bootMachine(machines.sriovServer);
  const found = async (...flags: string[]) =>
    JSON.parse(await list('--json', ...flags)).map(({ bdf }: { bdf: string }) => bdf);
  expect(await found('--driver', 'igb')).toEqual(['0000:03:00.1']);
  expect(await found('--driver', 'none')).toEqual(['0000:00:00.0']);
  expect(await found('--class', '0604')).toEqual(['0000:00:03.0']);
  expect(await found('--class', 'ETHERNET', '--group', '22')).toEqual(['0000:03:10.0']);
  expect(await found('--group', '99')).toEqual([]);
});

test('a group that is no number is a message and status 1', async () => {
  expect(await runCommand(listCommand, '--group', 'x')).toEqual({
    status: 1,
    out: '',
    err: expect.stringMatching(/^vfio: not an IOMMU group: x\nvfio: groups are/),
  });
});

test('without an IOMMU nothing is ready', async () => {
  bootMachine(machines.laptop);
  const devices = JSON.parse(await list('--json'));
  expect(devices.map(({ readiness }: { readiness: string }) => readiness)).toEqual([
    'bridge',
    'no-iommu',
    'bridge',
    'no-iommu',
  ]);
});

test('a group without an IOMMU is told apart', async () => {
  bootMachine(machines.noiommu);
  const [device] = JSON.parse(await list('--json'));
  expect(device).toMatchObject({ iommuGroup: 0, readiness: 'unprotected' });
});

test('entries of the wrong kind are unknown, and hide no other device', async () => {
  bootMachine(machines.odd);
  const devices = JSON.parse(await list('--json'));
  expect(devices.map(({ bdf }: { bdf: string }) => bdf)).toEqual([
    ...['0000:00:01.0', '0000:00:02.0', '0000:00:06.0', '0000:00:07.0'],
  ]);
  expect(devices[0]).toMatchObject({ driver: null, numaNode: null, readiness: 'unbound' });
  expect(devices[1]).toMatchObject({ readiness: 'ready' });
});

test('hostile names never reach the terminal raw', async () => {
  bootMachine(machines.hostile);
  for (const text of [await list(), await list('--json')]) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is the point
    expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  }
  expect(JSON.parse(await list('--json'))).toMatchObject([
    { driver: 'evil\x1b[31m\x07name', numaNode: null, sriov: null, vendorName: 'In?[31mtel?' },
    { bdf: '0000:00:02.0', driver: null, sriov: null, iommuGroup: null },
    { bdf: '0000:00:03.0', sriov: { role: 'pf', numVfs: 2 } },
  ]);
});
