import { jsonText } from '../../src/cli/output';
import { topologyCommand } from '../../src/cli/topology';
import { configBytes } from '../fixtures/config-bytes';
import * as machines from '../fixtures/machines';
import { bootMachine, removeMachine } from './fake-machine';
import { runCommand } from './run-command';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

const run = (...args: string[]) => runCommand(topologyCommand, ...args);
const topology = async (...args: string[]) => (await run(...args)).out;

test('a card without ACS cannot be split, for these reasons', async () => {
  bootMachine(machines.multiFunctionCard);
  expect(await run('--split', '0000:01:00.0', '01:00.1')).toEqual({
    status: 2,
    out:
      'no\n  both are in IOMMU group 1\n' +
      '  functions of one slot can reach each other: no ACS in 0000:01:00.0 and 0000:01:00.1\n' +
      '  ACS of 0000:00:01.1 above is off\n',
    err: '',
  });
});

test('VFs can be split; without an IOMMU nothing can', async () => {
  bootMachine(machines.sriovServer);
  expect(await run('--split', '0000:03:10.0', '0000:03:10.2')).toMatchObject({
    status: 0,
    out: expect.stringMatching(/^yes\n.*22 and 23/),
  });
  bootMachine(machines.laptop);
  expect(await topology('--split', '0000:01:00.0', '0000:00:02.0')).toMatch(
    /^no\n.*no IOMMU group/,
  );
});

test('groups that VFIO made up without an IOMMU isolate nothing', async () => {
  bootMachine(machines.noiommu);
  expect(await run('--split', '0000:00:03.0', '0000:00:04.0')).toMatchObject({
    status: 2,
    out: expect.stringMatching(/^no\n {2}IOMMU group 0 of 0000:00:03.0 is one without an IOMMU/),
  });
  expect(await topology()).toContain('[group 0, no IOMMU]\n');
  expect(await topology('--format', 'svg')).toContain('>no IOMMU</text>');
  const page = await topology('--format', 'html');
  expect(page).toContain('No IOMMU is in front of them');
  expect(page).not.toContain('An owner of its own');
});

test('groups that the command line made up are told with a caveat', async () => {
  bootMachine(machines.overriddenAcs);
  const word = 'pcie_acs_override=downstream,multifunction';
  expect(await topology('--split', '0000:01:00.0', '0000:01:00.1')).toMatch(
    new RegExp(`^yes\\n(.*\\n)* {2}but ${word} is on the command line: IOMMU groups are as`),
  );
  expect(await topology('--format', 'html')).toContain(`<code>${word}</code>`);
});

test('what only root can read is not taken for lacking', async () => {
  const { devices, ...machine } = machines.multiFunctionCard;
  const header = Object.entries(devices).map(([bdf, device]) => [
    bdf,
    { ...device, config: device.config?.subarray(0, 64) },
  ]);
  bootMachine({ ...machine, devices: Object.fromEntries(header) });
  expect(await topology('--split', '0000:01:00.0', '0000:01:00.1')).toContain(
    'the capabilities of 0000:00:01.1 above could not be read: try as root\n',
  );
  expect(await topology()).not.toContain('ACS');
});

test('VFs are drawn below their PF', async () => {
  bootMachine(machines.sriovServer);
  expect(await topology()).toMatch(/├─ 0000:03:00.0 .*\n {3}│ {2}├─ 0000:03:10.0 .*\n/);
  expect(await topology('--format', 'mermaid')).toContain('n0000_03_00_0 -.-> n0000_03_10_2\n');
  expect(await topology('--format', 'dot')).toContain('n0000_03_10_2 [style=dotted];\n');
});

test('text, DOT and Mermaid', async () => {
  bootMachine(machines.multiFunctionCard);
  expect((await topology()).split('\n').slice(1, 4)).toEqual([
    expect.stringMatching(
      /^└─ 0000:00:01.1 PCI bridge \(pcieport, root port, ACS off\) {2}\[group 1\]$/,
    ),
    expect.stringMatching(/^ {3}├─ 0000:01:00.0 GA102 .* \(vfio-pci, no ACS\) {2}\[group 1\]$/),
    expect.stringMatching(/^ {3}└─ 0000:01:00.1 /),
  ]);
  expect(await topology('--format', 'dot')).toMatch(/^digraph pci \{\n(.*\n)*.*cluster_1 \{/);
  expect(await topology('--format', 'mermaid')).toContain('  n0000_00_01_1 --> n0000_01_00_0\n');
});

test('two that are each below the other are drawn, once each', async () => {
  bootMachine(machines.odd);
  const drawn = (await topology()).match(/(?<=─ )0000:00:0\d.0(?= )/g);
  expect(drawn).toEqual(['0000:00:01.0', '0000:00:02.0', '0000:00:06.0', '0000:00:07.0']);
  expect(await topology('--split', '0000:00:06.0', '0000:00:07.0')).toMatch(/^no\n/);
});

test('every format tells why a group goes to one owner', async () => {
  bootMachine(machines.blockedGroup);
  for (const format of ['text', 'dot', 'mermaid', 'svg', 'html']) {
    const picture = await topology('--format', format);
    expect(picture).toContain('no ACS in 0000:01:00.0 and 0000:01:00.1');
    expect(picture).toContain('ACS of 0000:00:01.2 above is off');
    expect(picture).toContain('root port');
  }
  bootMachine(machines.sriovServer);
  expect(await topology()).not.toContain('one owner');
});

test('a port without ACS that the kernel isolates all the same is not marked', async () => {
  const port = machines.sriovServer.devices['0000:00:03.0']!;
  const config = configBytes({
    id: '8086:2f08',
    portType: 4,
    bridge: { secondary: 3, subordinate: 3 },
  });
  const devices = { ...machines.sriovServer.devices, '0000:00:03.0': { ...port, config } };
  const machine = { ...machines.sriovServer, devices };
  bootMachine(machine);
  expect(await topology()).toContain('(pcieport, root port, ACS by quirk)');
  expect(await topology('--format', 'svg')).toMatch(/class="faint"[^>]*>ACS by quirk</);
  const override = { 'proc/cmdline': 'pcie_acs_override=downstream' };
  bootMachine({ ...machine, files: { ...machine.files, ...override } });
  expect(await topology()).toContain('(pcieport, root port, no ACS)');
});

test('hostile names are drawn without harm', async () => {
  bootMachine(machines.hostile);
  for (const format of ['text', 'dot', 'mermaid', 'svg', 'html']) {
    expect(await topology('--format', format)).not.toMatch(/[^\P{Cc}\n]|touch pwned/u);
  }
  expect(await topology('--json')).not.toMatch(/[^\P{Cc}\n]/u);
});

test('the command line and names of others reach no terminal raw, in any form', async () => {
  const cmdline = 'ro pcie_acs_override=\x1b[31m\u202eevil\x9b\x7f\u2066\n';
  const ids = { 'usr/share/hwdata/pci.ids': '10de  \u202eAIDIVN\u2069\u061c\n' };
  const { files, ...machine } = machines.overriddenAcs;
  bootMachine({ ...machine, files: { ...files, ...ids, 'proc/cmdline': cmdline } });
  const split = ['--split', '0000:01:00.0', '0000:01:00.1'];
  const forms = ['text', 'dot', 'mermaid', 'svg', 'html'].map((format) => ['--format', format]);
  for (const args of [...forms, ['--json'], split, [...split, '--json']]) {
    const out = await topology(...args);
    expect(out).not.toBe('');
    expect([args, out]).toEqual([
      args,
      expect.not.stringMatching(/[^\P{Cc}\n]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u),
    ]);
  }
  // JSON says what was there all the same.
  const name = 'a\u202eb\x9b\n';
  expect(jsonText({ name })).toBe('{\n  "name": "a\\u202eb\\u009b\\n"\n}\n');
  expect(JSON.parse(jsonText({ name }))).toEqual({ name });
});
