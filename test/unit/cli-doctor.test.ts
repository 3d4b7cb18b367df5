import { doctorCommand } from '../../src/cli/doctor';
import { shell } from '../../src/doctor/shell';
import * as machines from '../fixtures/machines';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';
import { runCommand } from './run-command';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

async function doctor(machine: FakeMachine, ...args: string[]): Promise<[status: number, string]> {
  bootMachine(machine);
  const { status, out } = await runCommand(doctorCommand, ...args);
  return [status, out];
}

async function problems(machine: FakeMachine, ...args: string[]): Promise<[number, ...string[]]> {
  const [status, text] = await doctor(machine, ...args, '--json');
  const findings = JSON.parse(text) as { id: string; level: string }[];
  return [status, ...findings.filter(({ level }) => level !== 'ok').map(({ id }) => id)];
}

test.each<[string, FakeMachine, string[], [number, ...string[]]]>([
  ['a laptop with VT-d in the firmware only', machines.laptop, [], [2, 'iommu-off-kernel']],
  ['a server', machines.sriovServer, [], [0]],
  ['its VF', machines.sriovServer, ['0000:03:10.0'], [1, 'no-reset', 'vf-token']],
  ['its port with the default route', machines.sriovServer, ['03:00.1'], [2, 'in-use']],
  ['a blocked group', machines.blockedGroup, ['0000:01:00.0'], [2, 'group-blocked', 'no-reset']],
  ['AMD', machines.multiFunctionCard, [], [0]],
  ['Arm', machines.arm, ['0000:01:00.0'], [1, 'not-bound', 'no-reset']],
  ['no IOMMU, and VFIO told so', machines.noiommu, [], [2, 'iommu-off-firmware', 'noiommu']],
  [
    'a device without an IOMMU',
    machines.noiommu,
    ['0000:00:03.0'],
    [2, 'iommu-off-firmware', 'noiommu', 'unprotected', 'no-reset'],
  ],
  ['groups that are made up', machines.overriddenAcs, [], [1, 'acs-override']],
  ['a device in no group', machines.laptop, ['0000:01:00.0'], [2, 'iommu-off-kernel', 'no-group']],
  [
    'a device that a driver has yet to be probed for',
    machines.virtioIommu,
    ['0000:00:01.0'],
    [1, 'no-group-yet'],
  ],
  ['a bridge', machines.arm, ['0000:00:00.0'], [2, 'bridge']],
])('%s', async (_, machine, args, expected) => {
  expect(await problems(machine, ...args)).toEqual(expected);
});

test('the firmware, the command line and the kernel are told apart', async () => {
  const { 'sys/firmware/acpi/tables/DMAR': _, ...files } = machines.laptop.files!;
  expect(await problems({ ...machines.laptop, files })).toEqual([2, 'iommu-off-firmware']);
  const off = { ...machines.laptop.files, 'proc/cmdline': 'ro intel_iommu=off quiet' };
  expect(await problems({ ...machines.laptop, files: off })).toEqual([2, 'iommu-off-cmdline']);
});

test('a small memlock limit binds all but CAP_IPC_LOCK', async () => {
  const { files, devices } = machines.lowMemlock;
  const having = (set: string, map = '0 0 4294967295\n') => ({
    devices,
    files: { ...files, 'proc/self/status': `CapEff:\t${set}\n`, 'proc/self/uid_map': map },
  });
  expect(await problems(machines.lowMemlock)).toEqual([1, 'memlock-low']);
  expect(await problems(having('000001ffffffffff'))).toEqual([0]);
  expect(await problems(having('000001ffffffbfff'))).toEqual([1, 'memlock-low']);
  const container = having('000001ffffffffff', '0 1000 1\n');
  expect(await problems(container)).toEqual([1, 'memlock-low']);
  const [, text] = await doctor(machines.lowMemlock);
  expect(text).toMatch(
    /Max locked memory 8388608\n.*the limit is 8388608 bytes; raise it: .*limits.conf/,
  );
  expect(text).not.toMatch(/are pinned|asked for/);
});

test('--fix prints a script that names the culprits', async () => {
  const [, script] = await doctor(machines.blockedGroup, '0000:01:00.0', '--fix');
  expect(script).toMatch(/^#!\/bin\/sh\nset -eu\n/);
  expect(script).toContain('\nvfio bind 0000:01:00.1 0000:02:00.0\n');
});

test('an odd machine is examined to the end', async () => {
  for (const bdf of ['0000:00:01.0', '0000:00:02.0', '0000:00:06.0']) {
    expect(await problems(machines.odd, bdf)).not.toHaveLength(1);
  }
  const [, text] = await doctor(machines.odd, '0000:00:02.0');
  expect(text).toContain('is open in ? (pid 12) by ');
});

test('what a shell would run never gets into the script', async () => {
  const [, script] = await doctor(machines.hostile, '0000:00:01.0', '--fix');
  expect(script).toContain('x;touch pwned');
  const commands = script.split('\n').filter((line) => !line.startsWith('#'));
  expect(commands.join('\n')).not.toMatch(/touch|reboot/);
  const node = "it's;$(x)\nreboot";
  expect(shell`chown "$USER" ${node} ${['a/b', '']}`).toBe(
    `chown "$USER" 'it'\\''s;$(x)?reboot' a/b ''`,
  );
});

test('hostile names stay in comments, and off the terminal', async () => {
  for (const flag of [[], ['--fix'], ['--json']]) {
    const [, text] = await doctor(machines.hostile, '0000:00:01.0', ...flag);
    expect(text).not.toMatch(/[^\P{Cc}\n]/u);
  }
});
