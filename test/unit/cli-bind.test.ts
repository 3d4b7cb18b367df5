import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { bindCommand, restoreCommand } from '../../src/cli/bind';
import { saveBinding } from '../../src/pci/binding/saved-bindings';
import { readPciDevice } from '../../src/pci/sysfs';
import * as machines from '../fixtures/machines';
import { bootDriverCore, writes } from './fake-driver-core';
import { bootMachine, removeMachine } from './fake-machine';
import { STATE, UDEV_RULES } from './fake-machine-paths';
import { runCommand as run } from './run-command';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));
jest.mock('../../src/pci/blocking-write', () => require('./fake-driver-core'));

const GPU = '0000:01:00.0';
const SOUND = '0000:01:00.1';

beforeEach(() => {
  bootMachine(machines.multiFunctionCard);
  bootDriverCore({ [GPU]: 'nouveau', [SOUND]: 'snd_hda_intel' });
});
afterAll(removeMachine);

const driverOf = (bdf: string) => readPciDevice(bdf).driver;
const record = (bdf: string) => join(STATE, `${bdf}.json`);

test('bind, and restore by another process', async () => {
  expect((await run(bindCommand, SOUND)).out).toBe(`${SOUND}: snd_hda_intel -> vfio-pci\n`);
  expect(driverOf(SOUND)).toBe('vfio-pci');
  expect(JSON.parse(readFileSync(record(SOUND), 'utf8'))).toEqual({
    bdf: SOUND,
    ...{ vendor: 0x10de, device: 0x1aef, vfs: [] },
    before: { driver: 'snd_hda_intel', override: '' },
    driver: 'vfio-pci',
    complete: true,
  });
  expect((await run(restoreCommand)).out).toBe(`${SOUND}: vfio-pci -> snd_hda_intel\n`);
  expect(driverOf(SOUND)).toBe('snd_hda_intel');
  expect(existsSync(record(SOUND))).toBe(false);
});

test('bound twice, the first state is what comes back', async () => {
  await run(bindCommand, SOUND);
  await run(bindCommand, SOUND);
  await run(restoreCommand, SOUND);
  expect(driverOf(SOUND)).toBe('snd_hda_intel');
});

test('what others have bound goes to the driver that the kernel chooses', async () => {
  const plan = await run(restoreCommand, GPU, '--dry-run');
  expect(plan.out).toMatch(/driver\/unbind\n.*driver_override\n.*drivers_probe\n$/);
  expect((await run(restoreCommand, GPU)).out).toBe(`${GPU}: vfio-pci -> the kernel's choice\n`);
  expect(driverOf(GPU)).toBe('nouveau');
});

test('what nobody has bound is left alone', async () => {
  expect((await run(restoreCommand, SOUND)).out).toBe('nothing to do\n');
  expect(writes()).toEqual([]);
});

test('--dry-run prints the writes, and writes nothing', async () => {
  const { out } = await run(bindCommand, SOUND, '--dry-run', '--persist');
  const path = readPciDevice(SOUND).path;
  expect(out.split('\n')).toEqual([
    `echo ${SOUND} > ${path}/driver/unbind`,
    `echo vfio-pci > ${path}/driver_override`,
    expect.stringMatching(new RegExp(`^echo ${SOUND} > .*/bus/pci/drivers_probe$`)),
    `# ${UDEV_RULES}/70-vfio-${SOUND}.rules`,
    expect.stringMatching(
      /^ACTION=="add", .*ATTR\{device\}=="0x1aef", ATTR\{driver_override\}="vfio-pci"/,
    ),
    '',
  ]);
  expect(writes()).toEqual([]);
  expect(existsSync(record(SOUND))).toBe(false);
});

test('--group binds all that do DMA; the bridge stays', async () => {
  expect((await run(bindCommand, SOUND, '--group')).out).toContain(`${GPU}: vfio-pci -> vfio-pci`);
  expect(driverOf('0000:00:01.1')).toBe('pcieport');
  expect(driverOf(SOUND)).toBe('vfio-pci');
});

test('what a killed bind left is undone by the next, and by restore', async () => {
  const abandoned = () =>
    saveBinding({
      bdf: GPU,
      before: { driver: 'nouveau', override: '' },
      driver: 'vfio-pci',
      ...{ vendor: 0x10de, device: 0x2204, vfs: [] },
      complete: false,
    });
  abandoned();
  await run(bindCommand, SOUND);
  expect(driverOf(GPU)).toBe('nouveau');
  expect(existsSync(record(GPU))).toBe(false);
  abandoned();
  await run(restoreCommand);
  expect([driverOf(GPU), driverOf(SOUND)]).toEqual(['nouveau', 'snd_hda_intel']);
});

test('the rule of --persist is there until restore', async () => {
  const rule = join(UDEV_RULES, `70-vfio-${SOUND}.rules`);
  expect((await run(bindCommand, SOUND, '--persist')).out).toContain(`installed ${rule}\n`);
  expect(readFileSync(join(UDEV_RULES, `70-vfio-${SOUND}.rules`), 'utf8')).toContain(SOUND);
  await run(restoreCommand, SOUND);
  expect(existsSync(join(UDEV_RULES, `70-vfio-${SOUND}.rules`))).toBe(false);
});

test('a device that the system uses is refused, with the reason', async () => {
  bootMachine(machines.sriovServer);
  bootDriverCore({});
  expect(await run(bindCommand, '0000:03:00.1')).toEqual({
    status: 1,
    out: '',
    err: expect.stringMatching(/in use: enp3s0f1 has the default route\nvfio: .*--force/),
  });
  await run(bindCommand, '0000:03:00.1', '--force');
  expect(driverOf('0000:03:00.1')).toBe('vfio-pci');
});

test('the interface of this SSH session is refused, also as part of a bridge', async () => {
  const info = { address: '192.0.2.7' } as os.NetworkInterfaceInfo;
  const interfaces = jest.spyOn(os, 'networkInterfaces').mockReturnValue({ br0: [info] });
  process.env.SSH_CONNECTION = '192.0.2.1 50000 192.0.2.7 22';
  const { files, ...machine } = machines.sriovServer;
  const port = 'sys/devices/pci0000:00/0000:00:03.0/0000:03:00.1/net/enp3s0f1';
  bootMachine({ ...machine, files: { ...files, 'proc/net/route': '', [`${port}/upper_br0`]: '' } });
  bootDriverCore({});
  const { status, err } = await run(bindCommand, '0000:03:00.1');
  delete process.env.SSH_CONNECTION;
  interfaces.mockRestore();
  expect([status, err]).toEqual([
    1,
    expect.stringMatching(/in use: enp3s0f1 \(part of br0\) carries this SSH session\n/),
  ]);
  expect(driverOf('0000:03:00.1')).toBe('igb');
});

test.each([
  ['boot_vga', 'it is the display that the machine booted with', {}],
  [
    'drm/card0-HDMI-A-1/enabled',
    'card0-HDMI-A-1 shows a picture',
    { 'sys/class/drm/card0-HDMI-A-1': 'card0-HDMI-A-1' },
  ],
])('a display in use is refused, by %s', async (attribute, message, links) => {
  const text = attribute === 'boot_vga' ? '1\n' : 'enabled\n';
  const { devices, files } = machines.multiFunctionCard;
  const gpu = { ...devices[GPU]!, driver: 'nouveau', attributes: { [attribute]: text } };
  const drm = `sys/devices/pci0000:00/0000:00:01.1/${GPU}/drm`;
  const targets = Object.entries(links).map(([link, name]) => [link, `${drm}/${name}`]);
  bootMachine({
    devices: { ...devices, [GPU]: gpu },
    files: files!,
    links: Object.fromEntries(targets),
  });
  const { status, err } = await run(bindCommand, GPU, '--group');
  expect([status, err]).toEqual([1, expect.stringContaining(`in use: ${message}\n`)]);
  expect(driverOf(GPU)).toBe('nouveau');
});

test('who still blocks the group is told', async () => {
  bootMachine(machines.blockedGroup);
  bootDriverCore({ [SOUND]: 'snd_hda_intel', '0000:02:00.0': 'nvme' });
  expect((await run(bindCommand, SOUND)).out).toBe(
    `${SOUND}: snd_hda_intel -> vfio-pci\n` +
      `${SOUND} cannot be opened yet: 0000:02:00.0 (nvme) blocks its group; --group binds all of it\n`,
  );
});

test('--json has the changes with their writes and rules', async () => {
  const { out } = await run(bindCommand, SOUND, '--persist', '--json');
  expect(JSON.parse(out)).toMatchObject([
    {
      ...{ bdf: SOUND, from: 'snd_hda_intel', to: 'vfio-pci' },
      rule: { path: join(UDEV_RULES, `70-vfio-${SOUND}.rules`) },
    },
  ]);
});

test('without an IOMMU nothing is unbound; a bridge is refused', async () => {
  bootMachine(machines.laptop);
  expect((await run(bindCommand, '0000:01:00.0', '--force')).err).toMatch(/is in no IOMMU group/);
  expect((await run(bindCommand, '0000:00:1d.0')).err).toMatch(/0000:00:1d.0 is a bridge/);
  expect(writes()).toEqual([]);
});

test('a mounted disk is refused', async () => {
  bootMachine({ ...machines.multiFunctionCard, ...machines.mountedDisk });
  const { err } = await run(bindCommand, '0000:02:00.0');
  expect(err).toMatch(/in use: nvme0n1p2 is mounted on \/; nvme0n1p3 is swap space/);
});
