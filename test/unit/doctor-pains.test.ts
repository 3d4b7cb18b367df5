/** The pains that docs/doctor.md lists have findings; and it lists every finding that there is. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { examine } from '../../src/doctor/examine';
import type { Finding } from '../../src/doctor/finding';
import * as machines from '../fixtures/machines';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

const server = machines.sriovServer;
const PF = '0000:03:00.0';
const VF = '0000:03:10.0';

function findingOf(id: string, machine: FakeMachine, bdf?: string): Finding | undefined {
  bootMachine(machine);
  return examine(bdf).find((finding) => finding.id === id);
}

const withFiles = (files: FakeMachine['files']) => ({
  ...server,
  files: { ...server.files, ...files },
});

function withDevice(
  bdf: string,
  change: Partial<FakeMachine['devices'][string]>,
  attributes: Record<string, string> = {},
): FakeMachine {
  const device = server.devices[bdf]!;
  const changed = { ...device, ...change, attributes: { ...device.attributes, ...attributes } };
  return { ...server, devices: { ...server.devices, [bdf]: changed } };
}

test('a driver_override whose driver has not taken it', () => {
  const stale = withDevice(PF, { driver: 'igb' }, { driver_override: 'vfio-pci\n' });
  expect(findingOf('stale-override', stale, PF)).toMatchObject({
    level: 'warning',
    evidence: expect.stringMatching(/driver_override: vfio-pci; .*driver: igb$/),
    fix: { commands: [`vfio restore ${PF}`] },
  });
  const taken = withDevice(PF, {}, { driver_override: 'vfio-pci\n' });
  expect(findingOf('stale-override', taken, PF)).toBeUndefined();
});

test('a bind that was killed midway', () => {
  const record = (complete: boolean) => ({
    [`run/vfio/${PF}.json`]: JSON.stringify({
      ...{ bdf: PF, driver: 'vfio-pci', complete, vendor: 0x8086, device: 0x10c9, vfs: [] },
      before: { driver: 'igb', override: '' },
    }),
  });
  expect(findingOf('abandoned-binding', withFiles(record(false)))).toMatchObject({
    level: 'warning',
    fix: { commands: [`vfio restore ${PF}`] },
  });
  expect(findingOf('abandoned-binding', withFiles(record(true)))).toBeUndefined();
  expect(findingOf('abandoned-binding', withFiles({ 'run/vfio/x.json': '{' }))).toBeUndefined();
});

test('the number of mappings', () => {
  const limit = (text: string) =>
    withFiles({ 'sys/module/vfio_iommu_type1/parameters/dma_entry_limit': text });
  expect(findingOf('mappings', limit('65535\n'))?.level).toBe('ok');
  expect(findingOf('mappings-few', limit('100\n'))?.meaning).toContain('100 mappings');
});

test('windows that DMA addresses may not touch, and their width', () => {
  const regions = (line: string) => ({
    ...withFiles({ 'sys/kernel/iommu_groups/20/reserved_regions': line }),
    links: {
      ...server.links,
      [`sys/bus/pci/devices/${PF}/iommu`]: 'sys/class/iommu/dmar0',
    },
  });
  const msi = '0x00000000fee00000 0x00000000feefffff msi\n';
  expect(findingOf('addresses', regions(msi), PF)).toMatchObject({
    level: 'ok',
    evidence: expect.stringContaining('0x00000000fee00000-0x00000000feefffff (msi)'),
    meaning: expect.stringMatching(/below 2\^39$/),
  });
  const direct = '0x00000000000e0000 0x00000000000fffff direct\n';
  expect(findingOf('reserved-memory', regions(msi + direct), PF)?.level).toBe('blocked');
  const relaxable = '0x00000000000e0000 0x00000000000fffff direct-relaxable\n';
  expect(findingOf('reserved-memory', regions(relaxable), PF)).toBeUndefined();
  expect(findingOf('addresses', regions('\x1b[2J 0x1 x\n'), PF)).toBeUndefined();
});

test('a device that sleeps, and one that does not answer', () => {
  const asleep = withDevice(PF, {}, { power_state: 'D3hot\n' });
  expect(findingOf('power', asleep, PF)).toMatchObject({
    level: 'ok',
    evidence: expect.stringMatching(/D3hot; PCI_COMMAND: memory decoding off$/),
  });
  const config = new Uint8Array(64);
  config[4] = 2;
  const plain = withDevice(PF, { config }, { power_state: 'unknown\n' });
  expect(findingOf('power', plain, PF)?.meaning).toBe('its registers answer');
  const gone = withDevice(PF, { config: new Uint8Array(64).fill(0xff) });
  expect(findingOf('no-answer', gone, PF)?.level).toBe('blocked');
  const ids = new Uint8Array(64).fill(0xff, 0, 4);
  expect(findingOf('no-answer', withDevice(VF, { config: ids }), VF)).toBeUndefined();
});

test('no reset: who is on the bus; and a kernel that names no methods', () => {
  expect(findingOf('no-reset', machines.blockedGroup, '0000:01:00.0')).toMatchObject({
    evidence: expect.stringMatching(/does not exist, nor reset; on its bus: 0000:01:00.1$/),
    fix: { text: expect.stringContaining('0000:01:00.1') },
  });
  const old = withDevice(VF, {}, { reset: '' });
  expect(findingOf('reset', old, VF)?.evidence).toMatch(/reset exists$/);
});

test('a VF, by the driver that its PF has', () => {
  expect(findingOf('vf-token', server, VF)).toMatchObject({
    level: 'warning',
    evidence: `physfn: ${PF}, bound to vfio-pci`,
  });
  expect(findingOf('vf', withDevice(PF, { driver: 'igb' }), VF)?.evidence).toContain('igb');
});

test('a container, by its users or its root', () => {
  expect(findingOf('container', server)).toBeUndefined();
  const users = withFiles({ 'proc/self/uid_map': '0 100000 65536\n' });
  expect(findingOf('container', users)?.level).toBe('ok');
  const root = withFiles({ 'proc/self/mountinfo': '1 0 0:30 / / rw - overlay overlay rw\n' });
  expect(findingOf('container', root)?.evidence).toContain('overlay');
});

describe('docs/doctor.md', () => {
  const text = readFileSync(join(__dirname, '../../docs/doctor.md'), 'utf8');
  const rows = (part: string) =>
    part
      .split('\n')
      .flatMap((line) => (/^\| [^-]/.test(line) ? [line.split('|').slice(1, -1)] : []));
  const idsIn = (cell: string) => [...cell.matchAll(/`([a-z-]+)`/g)].map(([, id]) => id!);
  const [findingsPart, painsPart] = text.split('## Pains') as [string, string];
  const documented = new Set(rows(findingsPart).flatMap(([cell]) => idsIn(cell!)));

  test('lists every finding', () => {
    const directory = join(__dirname, '../../src/doctor');
    const sources = readdirSync(directory).map((name) =>
      readFileSync(join(directory, name), 'utf8'),
    );
    const ids = sources.flatMap((source) =>
      [...source.matchAll(/(?:\bid: |\b(?:ok|blocked)\(\s*)'([a-z-]+)'/g)].map(([, id]) => id!),
    );
    const choices = sources.flatMap((source) =>
      [...source.matchAll(/\bid: \S+ \? '([a-z-]+)' : '([a-z-]+)'/g)].flatMap((match) =>
        match.slice(1),
      ),
    );
    expect([...documented].sort()).toEqual([...new Set([...ids, ...choices])].sort());
  });

  test('names findings for every pain', () => {
    const pains = rows(painsPart).slice(1);
    expect(pains.length).toBeGreaterThan(15);
    for (const [pain, cell] of pains) {
      expect([pain, idsIn(cell!)]).not.toEqual([pain, []]);
      for (const id of idsIn(cell!)) expect(documented).toContain(id);
    }
  });
});
