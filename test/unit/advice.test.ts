/** Advice can be followed: the commands that `vfio doctor` prints are accepted, on the machine that it saw. */
import { bindCommand, restoreCommand } from '../../src/cli/bind';
import { sriovCommand } from '../../src/cli/sriov';
import { examine } from '../../src/doctor/examine';
import type { Finding } from '../../src/doctor/finding';
import * as machines from '../fixtures/machines';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';
import { runCommand } from './run-command';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

const commands = { bind: bindCommand, restore: restoreCommand, sriov: sriovCommand } as const;

const inUse = { boot_vga: '1\n' };
const { multiFunctionCard, sriovServer } = machines;
const PF = '0000:03:00.0';
const SOUND = '0000:01:00.1';

/** Besides those of the fixtures: each asks for a command of another kind. */
const more: Readonly<Record<string, FakeMachine>> = {
  'a stale override, in use': {
    ...sriovServer,
    devices: {
      ...sriovServer.devices,
      '0000:03:00.1': {
        ...sriovServer.devices['0000:03:00.1']!,
        attributes: {
          ...sriovServer.devices['0000:03:00.1']!.attributes,
          driver_override: 'vfio-pci\n',
        },
      },
    },
  },
  'an abandoned bind whose driver was unloaded': {
    ...sriovServer,
    files: {
      ...sriovServer.files,
      [`run/vfio/${PF}.json`]: JSON.stringify({
        ...{ bdf: PF, vendor: 0x8086, device: 0x10c9, driver: 'vfio-pci', complete: false },
        ...{ before: { driver: 'gone', override: '' }, vfs: [] },
      }),
    },
  },
  'a display in use': {
    ...multiFunctionCard,
    devices: {
      ...multiFunctionCard.devices,
      [SOUND]: { ...multiFunctionCard.devices[SOUND]!, class: '030000', attributes: inUse },
    },
  },
  'a bridge of the group with a driver of its own': {
    ...multiFunctionCard,
    devices: {
      ...multiFunctionCard.devices,
      '0000:00:01.1': { ...multiFunctionCard.devices['0000:00:01.1']!, driver: 'shpchp' },
    },
  },
  'a platform device in the group': {
    ...multiFunctionCard,
    files: { ...multiFunctionCard.files, 'sys/bus/platform/drivers/serial/x': '' },
    links: {
      'sys/kernel/iommu_groups/1/devices/serial.0': 'sys/devices/platform/serial.0',
      'sys/devices/platform/serial.0/driver': 'sys/bus/platform/drivers/serial',
      'sys/devices/platform/serial.0/subsystem': 'sys/bus/platform',
    },
  },
  'a drive behind VMD': {
    devices: {
      '0000:00:0e.0': { id: '8086:9a0b', class: '010400', driver: 'vmd', group: 4 },
      '10000:e1:00.0': {
        ...{ id: '144d:a80a', class: '010802', driver: 'nvme', group: 4, below: '0000:00:0e.0' },
      },
    },
    files: sriovServer.files!,
  },
  'a device of the denylist': {
    devices: { '0000:05:00.0': { id: '8086:37c8', class: '0b4000', driver: 'c6xx', group: 5 } },
    files: { ...sriovServer.files, 'sys/module/vfio_pci/parameters/disable_denylist': 'N\n' },
  },
};

const printed = ({ fix }: Finding) => [...(fix?.commands ?? []), ...(fix?.byHand ?? [])];

async function refused(command: string): Promise<string[]> {
  const [program, name, ...args] = command.split(' ');
  if (program !== 'vfio') return [];
  const { status, err } = await runCommand(commands[name as 'bind'], ...args, '--dry-run');
  return status === 0 ? [] : [`${command}: ${err}`];
}

test.each(Object.entries({ ...machines, ...more }) as [string, FakeMachine][])(
  '%s',
  async (_, machine) => {
    bootMachine(machine);
    const bdfs = [undefined, ...Object.keys(machine.devices)];
    const all = bdfs.flatMap((bdf) => examine(bdf)).flatMap(printed);
    for (const command of new Set(all)) expect(await refused(command)).toEqual([]);
  },
);

const findingsOf = (name: string, bdf: string) => {
  bootMachine(more[name]!);
  return new Map(examine(bdf).map((finding) => [finding.id, finding]));
};

test('what is in use is for a person to decide, by --force', () => {
  const found = findingsOf('a stale override, in use', '0000:03:00.1');
  expect(found.get('in-use')?.fix).toMatchObject({
    commands: [],
    byHand: ['vfio bind --force 0000:03:00.1'],
  });
  expect(found.get('stale-override')?.fix).toMatchObject({
    commands: [],
    byHand: ['vfio restore --force 0000:03:00.1'],
  });
});

test('behind VMD, nothing can be given away but the whole', () => {
  const found = findingsOf('a drive behind VMD', '10000:e1:00.0');
  expect(found.get('behind-controller')).toMatchObject({
    level: 'blocked',
    evidence: expect.stringContaining('0000:00:0e.0'),
    fix: { commands: [], text: expect.stringContaining('as a whole') },
  });
  expect([...found.keys()]).not.toContain('not-bound');
});

test('a member of the group on another bus is in the way, and cannot be bound', () => {
  const found = findingsOf('a platform device in the group', '0000:01:00.0');
  expect(found.get('group-blocked')?.meaning).toContain('serial.0 (serial)');
  expect(JSON.stringify(found.get('group-blocked')?.fix?.commands)).not.toContain('serial');
});

test('a bridge with a driver of its own blocks, and can only be unbound', () => {
  const found = findingsOf('a bridge of the group with a driver of its own', '0000:01:00.0');
  expect(found.get('group-blocked')?.fix?.byHand).toEqual([
    expect.stringMatching(/^echo 0000:00:01.1 > .*0000:00:01.1\/driver\/unbind$/),
  ]);
});

test('the denylist is named, by doctor and by bind', async () => {
  const found = findingsOf('a device of the denylist', '0000:05:00.0');
  expect(found.get('denylisted')).toMatchObject({ level: 'blocked' });
  expect((await runCommand(bindCommand, '0000:05:00.0')).err).toMatch(
    /denylisted\nvfio: .*disable_denylist=1/,
  );
});
