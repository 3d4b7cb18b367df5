/** Each check both ways: where all is well, and where it is not. */
import fs from 'node:fs';
import { gzipSync } from 'node:zlib';
import { examine } from '../../src/doctor/examine';
import type { Finding } from '../../src/doctor/finding';
import * as machines from '../fixtures/machines';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';
import { SYS } from './fake-machine-paths';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

const server = machines.sriovServer;

/** `undefined` takes a file away. */
function withFiles(
  machine: FakeMachine,
  changes: Record<string, string | Uint8Array | undefined>,
): FakeMachine {
  const files = Object.entries({ ...machine.files, ...changes });
  const there = files.filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { ...machine, files: Object.fromEntries(there) };
}

function findings(machine: FakeMachine, bdf?: string): Map<string, Finding> {
  bootMachine(machine);
  return new Map(examine(bdf).map((finding) => [finding.id, finding]));
}

const level = (machine: FakeMachine, id: string, bdf?: string) =>
  findings(machine, bdf).get(id)?.level;

describe('interrupt remapping', () => {
  const ecap = 'sys/class/iommu/dmar0/intel-iommu/ecap';
  const parameter = 'sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts';

  test('by the capability of VT-d', () => {
    expect(level(server, 'interrupt-remapping')).toBe('ok');
    const without = findings(withFiles(server, { [ecap]: 'f050d2\n' }));
    expect(without.get('no-interrupt-remapping')).toMatchObject({
      level: 'blocked',
      evidence: `${SYS}/class/iommu/dmar0/intel-iommu/ecap: f050d2`,
      fix: {
        commands: [],
        byHand: [expect.stringMatching(/^echo Y > .*allow_unsafe_interrupts$/)],
      },
    });
    expect(level(withFiles(server, { [ecap]: 'zz' }), 'interrupt-remapping')).toBeUndefined();
  });

  test('by the table of interrupts, which tells what is so', () => {
    const line = (chip: string) => ({ 'proc/interrupts': ` 24:  0  0  ${chip} 49152-edge  x\n` });
    expect(level(withFiles(server, line('IR-PCI-MSI')), 'interrupt-remapping')).toBe('ok');
    const plain = withFiles(server, line('PCI-MSI'));
    expect(level(plain, 'no-interrupt-remapping')).toBe('blocked');
    const amd = withFiles(machines.multiFunctionCard, line('PCI-MSI-0000:01:00.0'));
    expect(level(amd, 'no-interrupt-remapping')).toBe('blocked');
  });

  test('AMD-Vi can; of the SMMU nothing is told', () => {
    expect(level(machines.multiFunctionCard, 'interrupt-remapping')).toBe('ok');
    const arm = findings(machines.arm);
    expect([...arm.keys()].filter((id) => id.includes('interrupt'))).toEqual([]);
  });

  test.each(['nointremap', 'intremap=off'])('%s on the command line', (word) => {
    const off = findings(withFiles(server, { 'proc/cmdline': `ro intel_iommu=on ${word}\n` }));
    expect(off.get('no-interrupt-remapping')).toMatchObject({
      level: 'blocked',
      evidence: expect.stringContaining(word),
      fix: { reboot: true },
    });
  });

  test('allowed without', () => {
    const machine = withFiles(server, { [parameter]: 'Y\n', [ecap]: '0\n' });
    expect(level(machine, 'unsafe-interrupts')).toBe('warning');
    expect(level(machine, 'no-interrupt-remapping')).toBeUndefined();
  });
});

describe('an IOMMU that is not used', () => {
  const config = 'boot/config-6.12.0-test';
  const options = `${machines.laptop.files![config]}CONFIG_ARM_SMMU_V3=y\n`;
  const without = (option: string) => ({ [config]: options.replace(`${option}=y`, '') });
  const table = (name: string) => ({
    'sys/firmware/acpi/tables/DMAR': undefined,
    [`sys/firmware/acpi/tables/${name}`]: '',
    [config]: options,
  });
  const cmdline = { 'proc/cmdline': 'ro intel_iommu=on,sm_on\n' };
  const tree = {
    'sys/firmware/acpi/tables/DMAR': undefined,
    'sys/firmware/devicetree/base/compatible': 'arm,x',
  };

  test.each<[string, Record<string, string | undefined>, string]>([
    ['Intel, not asked for', {}, 'iommu-off-kernel'],
    ['Intel, asked for', cmdline, 'iommu-failed'],
    ['Intel, not built', without('CONFIG_INTEL_IOMMU'), 'iommu-not-built'],
    ['AMD, which needs no asking', table('IVRS'), 'iommu-failed'],
    ['AMD, not built', { ...table('IVRS'), ...without('CONFIG_AMD_IOMMU') }, 'iommu-not-built'],
    ['Arm', table('IORT'), 'iommu-failed'],
    ['Arm, device tree', { ...tree, [config]: options }, 'iommu-off-devicetree'],
    ['Arm, device tree, not built', tree, 'iommu-not-built'],
  ])('%s', (_, files, id) => {
    const found = findings(withFiles(machines.laptop, files)).get(id);
    expect(found).toMatchObject({ level: 'blocked', fix: { reboot: true } });
    const commands = found?.fix?.commands.join('\n') ?? '';
    expect(commands.includes('intel_iommu=on')).toBe(id === 'iommu-off-kernel');
    expect(JSON.stringify(found)).not.toContain('iommu.passthrough');
  });
});

describe('interfaces', () => {
  const config = 'boot/config-6.12.0-test';

  test('a kernel without iommufd has groups, and one without either is blocked', () => {
    expect(findings(server).get('iommufd-not-built')).toMatchObject({
      level: 'ok',
      meaning: expect.stringContaining('CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV'),
    });
    expect(level(server, 'interfaces')).toBe('ok');
    const neither = withFiles(server, { 'dev/vfio/vfio': undefined });
    expect(level(neither, 'no-interface')).toBe('blocked');
    const unbuilt = withFiles(neither, { [config]: 'CONFIG_VFIO=m\nCONFIG_VFIO_PCI=m\n' });
    expect(level(unbuilt, 'interface-not-built')).toBe('blocked');
  });

  test('iommufd that is there, or only not loaded', () => {
    const built = 'CONFIG_VFIO_PCI=m\nCONFIG_IOMMUFD=m\nCONFIG_VFIO_DEVICE_CDEV=y\n';
    const notLoaded = findings(withFiles(server, { [config]: built }));
    expect(notLoaded.get('iommufd-not-loaded')?.fix?.commands).toEqual(['modprobe iommufd']);
    const nodes = { [config]: built, 'dev/iommu': '', 'dev/vfio/devices/vfio0': '' };
    expect(findings(withFiles(server, nodes)).get('iommufd')?.meaning).toMatch(/can be opened/);
  });

  test('the options of the running kernel itself, from /proc/config.gz', () => {
    const own = gzipSync('CONFIG_IOMMUFD=y\n# CONFIG_VFIO_DEVICE_CDEV is not set\n');
    const machine = withFiles(server, { 'proc/config.gz': own });
    expect(findings(machine).get('iommufd-not-built')?.meaning).toMatch(
      /without CONFIG_VFIO_DEVICE_CDEV:/,
    );
    const damaged = withFiles(server, { 'proc/config.gz': 'x', [config]: undefined });
    expect(level(damaged, 'iommufd-absent')).toBe('ok');
  });
});

describe('what guards the kernel', () => {
  const secureBoot = 'sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c';

  test('secure boot: the byte after the attributes', () => {
    expect(findings(server).has('secure-boot')).toBe(false);
    const meaning = (value: string) =>
      findings(withFiles(server, { [secureBoot]: value })).get('secure-boot')?.meaning;
    expect(meaning('\x06\0\0\0\x01')).toMatch(/is on/);
    expect(meaning('\x06\0\0\0\0')).toMatch(/is off/);
    expect(meaning('\x06')).toBeUndefined();
  });

  test('lockdown', () => {
    expect(level(server, 'lockdown')).toBe('ok');
    const locked = { 'sys/kernel/security/lockdown': 'none [integrity] confidentiality\n' };
    expect(findings(withFiles(server, locked)).get('lockdown')).toMatchObject({
      level: 'warning',
      fix: { commands: [], reboot: true },
    });
  });
});

describe('a device', () => {
  const PF = '0000:03:00.0';

  test('its group: alone, or shared, with the reasons', () => {
    expect(level(server, 'isolated', PF)).toBe('ok');
    const shared = findings(machines.blockedGroup, '0000:01:00.0').get('shared-group');
    expect(shared?.meaning).toMatch(
      /^it has the same owner as 0000:01:00.1, 0000:02:00.0: .*ACS of 0000:00:01.1 above is off/,
    );
  });

  test('VFs that vfio-pci would not make', () => {
    const pf = server.devices[PF]!;
    const none = { ...pf, attributes: { ...pf.attributes, sriov_numvfs: '0\n' } };
    expect(level(server, 'sriov-disabled', PF)).toBe('ok');
    const { '0000:03:10.0': _, '0000:03:10.2': __, ...others } = server.devices;
    const machine = { ...server, devices: { ...others, [PF]: none } };
    expect(level(machine, 'sriov-disabled', PF)).toBe('warning');
    const enabled = { 'sys/module/vfio_pci/parameters/enable_sriov': 'Y\n' };
    expect(level(withFiles(machine, enabled), 'sriov-disabled', PF)).toBeUndefined();
  });

  test('its NUMA node', () => {
    expect(findings(server, PF).get('numa')?.meaning).toContain('numactl -N 1 -m 1');
    expect(findings(machines.hostile, '0000:00:01.0').has('numa')).toBe(false);
  });

  describe('who may open it', () => {
    const own = {
      'sys/devices/pci0000:00/0000:00:03.0/0000:03:00.0/vfio-dev/vfio0/dev': '',
      'dev/vfio/devices/vfio0': '',
      'dev/iommu': '',
    };

    /** Nodes that are looked at, for a user who may open none. */
    function refusedNodes(machine: FakeMachine, bdf: string): string[] {
      bootMachine(machine);
      const access = jest.spyOn(fs, 'accessSync').mockImplementation(() => {
        throw new Error('EACCES');
      });
      const refused = examine(bdf).filter(({ id }) => id === 'permission');
      access.mockRestore();
      return refused.map(({ level, evidence }) => `${level} ${/\/dev\/(\S*)/.exec(evidence)?.[1]}`);
    }

    test('of the two ways that one which is taken', () => {
      expect(refusedNodes(server, PF)).toEqual(['blocked vfio/20', 'blocked vfio/vfio']);
      expect(refusedNodes(withFiles(server, own), PF)).toEqual([
        'blocked vfio/devices/vfio0',
        'blocked iommu',
      ]);
    });

    test('before it is bound, by whom', () => {
      const unbound = findings(machines.arm, '0000:01:00.0');
      expect(unbound.get('permission')?.level).toBe('ok');
      const user = jest.spyOn(process, 'getuid').mockReturnValue(1000);
      expect(refusedNodes(machines.arm, '0000:01:00.0')).toEqual([
        'warning vfio/1',
        'blocked vfio/vfio',
      ]);
      user.mockRestore();
    });
  });

  test('who has its nodes open, by process', () => {
    const holder = (node: string) => ({
      ...withFiles(server, {
        'proc/4711/comm': 'qemu\n',
        'sys/devices/pci0000:00/0000:00:03.0/0000:03:00.0/vfio-dev/vfio0/dev': '',
        'dev/vfio/devices/vfio0': '',
        'dev/iommu': '',
      }),
      links: { ...server.links, 'proc/4711/fd/3': node },
    });
    const group = findings(holder('dev/vfio/20'), PF).get('group-held');
    expect(group).toMatchObject({
      level: 'blocked',
      evidence: expect.stringMatching(/dev\/vfio\/20 is open in qemu \(pid 4711\) by fd \d+$/),
      fix: { text: expect.stringContaining('held by qemu (pid 4711)'), byHand: ['kill 4711'] },
    });
    expect(level(holder('dev/vfio/devices/vfio0'), 'device-held', PF)).toBe('blocked');
    expect(level(holder('dev/null'), 'group-held', PF)).toBeUndefined();
  });
});

test('every finding tells what was seen; what is not well its fix, risk and reboot', () => {
  for (const machine of Object.values(machines)) {
    for (const bdf of [undefined, ...Object.keys(machine.devices)]) {
      for (const { id, level, evidence, meaning, fix } of findings(machine, bdf).values()) {
        expect([id, evidence, meaning, fix?.text, fix?.risk]).not.toContain('');
        if (level === 'ok') continue;
        expect([id, fix]).toEqual([
          id,
          expect.objectContaining({
            text: expect.any(String),
            risk: expect.any(String),
            reboot: expect.any(Boolean),
          }),
        ]);
      }
    }
  }
});
