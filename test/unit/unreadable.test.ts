/** What cannot be read is unknown: never none, nor a number, nor an error without a name. */
import fs, { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { configCommand } from '../../src/cli/config';
import { doctorCommand } from '../../src/cli/doctor';
import { infoCommand } from '../../src/cli/info';
import { listCommand } from '../../src/cli/list';
import type { Output } from '../../src/cli/output';
import { topologyCommand } from '../../src/cli/topology';
import { examine } from '../../src/doctor/examine';
import { decodeConfigSpace } from '../../src/pci/config/decode';
import { iommuGroupMembers } from '../../src/pci/iommu-group';
import { isBridge, readinessOf } from '../../src/pci/readiness';
import { barResources } from '../../src/pci/resources';
import { readPciDevice } from '../../src/pci/sysfs';
import { configBytes } from '../fixtures/config-bytes';
import * as machines from '../fixtures/machines';
import { bootMachine, type FakeFunction, type FakeMachine, removeMachine } from './fake-machine';
import { ROOT } from './fake-machine-paths';
import { runCommand } from './run-command';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

const server = machines.sriovServer;
const PF = '0000:03:00.0';

const run = (command: (output: Output) => Command, ...args: string[]) =>
  runCommand(command, ...args);

function withPf(
  change: Partial<FakeFunction>,
  attributes: Record<string, string> = {},
): FakeMachine {
  const pf = server.devices[PF]!;
  const changed = { ...pf, ...change, attributes: { ...pf.attributes, ...attributes } };
  return { ...server, devices: { ...server.devices, [PF]: changed } };
}

const without = (machine: FakeMachine, ...paths: string[]) => {
  bootMachine(machine);
  for (const path of paths) rmSync(join(ROOT, path), { recursive: true, force: true });
};
const findings = (bdf?: string) => new Map(examine(bdf).map((finding) => [finding.id, finding]));

describe('/proc is empty', () => {
  beforeEach(() => without(server, 'proc'));

  test('the limit of locked memory is unknown, and this is no container for that', () => {
    const found = findings(PF);
    expect(found.get('memlock-unknown')).toMatchObject({
      level: 'warning',
      evidence: expect.stringContaining('limits is not readable'),
    });
    expect(found.has('container')).toBe(false);
    expect(JSON.stringify([...found.values()])).not.toMatch(/NaN|undefined/);
  });

  test.each([[[]], [[PF]]])('the command says so: doctor %j', async (args) => {
    expect((await run(doctorCommand, ...args)).out).not.toMatch(
      /NaN|undefined|container, it seems/,
    );
  });
});

test('root of a user namespace with the map of the machine is not root of the machine', () => {
  const limited = {
    ...{ ...server.files, 'proc/self/limits': machines.lowMemlock.files!['proc/self/limits']! },
    'proc/self/status': 'CapEff:\t000001ffffffffff\n',
  };
  const inside = (namespace: string) => ({
    ...server,
    files: limited,
    links: { ...server.links, 'proc/self/ns/user': namespace },
  });
  bootMachine(inside('user:[4026531837]'));
  expect(findings().has('memlock-low')).toBe(false);
  bootMachine(inside('user:[4026532000]'));
  expect(findings().has('memlock-low')).toBe(true);
  expect(findings().has('container')).toBe(true);
});

test('no /sys/kernel/mm/hugepages', () => {
  without(server, 'sys/kernel/mm');
  expect(findings().get('hugepages')?.meaning).toMatch(/unknown/);
});

describe('config space of which a user sees the header alone', () => {
  beforeEach(() =>
    bootMachine(withPf({ config: configBytes({ id: '8086:10c9' }).subarray(0, 64) })),
  );

  test('its capabilities are null', async () => {
    expect(JSON.parse((await run(infoCommand, PF, '--json')).out).capabilities).toBeNull();
    expect((await run(infoCommand, PF)).out).toMatch(
      /capabilities +not readable \(root sees all\)/,
    );
  });

  test('`config` says why', async () => {
    expect((await run(configCommand, PF)).out).toMatch(/only 64 bytes .*: root sees all/);
  });
});

test('without a list, a header alone has no capabilities', async () => {
  const config = configBytes({ id: '8086:10c9' }).subarray(0, 64);
  config[6] = 0;
  bootMachine(withPf({ config }));
  expect(JSON.parse((await run(infoCommand, PF, '--json')).out).capabilities).toEqual([]);
});

describe('BARs', () => {
  const resource = (line: string) => ({ resource: `${line}\n`.repeat(1) });
  const bars = () => barResources(readPciDevice(PF));

  test.each([
    ['without a place', '0x0000000000000000 0x0000001fffffffff 0x0000000020040200'],
    ['at address 0', '0x0000000000000000 0x0000001fffffffff 0x0000000000140204'],
  ])('%s', async (_, line) => {
    bootMachine(withPf({}, resource(line)));
    expect(bars()).toMatchObject([{ name: 'bar0', address: null, size: 2 ** 37 }]);
    expect((await run(infoCommand, PF)).out).toMatch(
      /bar0 +128 GiB without an address \(not assigned\)/,
    );
    expect(findings(PF).get('bar-unplaced')).toMatchObject({
      level: 'warning',
      evidence: expect.stringContaining('bar0'),
      fix: { text: expect.stringMatching(/Above 4G decoding|pci=realloc/) },
    });
  });

  test('in their place', () => {
    bootMachine(withPf({}, resource('0x00000000fe000000 0x00000000fe01ffff 0x0000000000040200')));
    expect(bars()).toMatchObject([{ address: '0xfe000000', size: 0x20000 }]);
    expect(findings(PF).has('bar-unplaced')).toBe(false);
  });

  test('that the kernel does not report', async () => {
    bootMachine(server);
    expect(bars()).toBeNull();
    expect((await run(infoCommand, PF)).out).toMatch(/BARs +unknown/);
  });
});

test.each([listCommand, topologyCommand])('no /sys/bus/pci: %p', async (command) => {
  without(server, 'sys/bus/pci');
  const { status, out, err } = await run(command);
  expect([status, out, err]).toEqual([
    1,
    '',
    expect.stringMatching(/no PCI here.*\nvfio: .*container/),
  ]);
});

test('a vfio driver, and no node: not given to this container', () => {
  const { 'dev/vfio/20': _, ...files } = server.files!;
  bootMachine({ ...server, files });
  expect(findings(PF).get('node-missing')).toMatchObject({
    level: 'blocked',
    evidence: expect.stringMatching(/vfio\/20 does not exist, though vfio-pci is bound/),
    fix: { text: expect.stringContaining('--device') },
  });
});

test('VIOT is named', () => {
  const { 'sys/firmware/acpi/tables/DMAR': _, ...files } = machines.laptop.files!;
  bootMachine({ ...machines.laptop, files: { ...files, 'sys/firmware/acpi/tables/VIOT': '' } });
  expect(findings().get('iommu-not-built')?.meaning).toContain('virtio-iommu');
});

test('config space that repeats its first page has no second list', () => {
  const page = configBytes({ id: '8086:244e' }).subarray(0, 256);
  page[0x40] = 0x01;
  const mirrored = new Uint8Array(4096);
  for (let offset = 0; offset < mirrored.length; offset += page.length) mirrored.set(page, offset);
  for (const size of [512, 4096]) {
    const { extendedCapabilities, problems } = decodeConfigSpace(mirrored.subarray(0, size));
    expect([extendedCapabilities, problems]).toEqual([[], []]);
  }
});

describe('a bridge is what has the header of one', () => {
  const at = (change: Partial<FakeFunction>) => {
    bootMachine(withPf(change));
    return readPciDevice(PF);
  };
  const bridge = { secondary: 1, subordinate: 1 };

  test.each([
    ['an ISA bridge', '060100', false],
    ['a non-transparent bridge', '068000', false],
    ['a host bridge', '060000', false],
    ['whatever has a header of type 1', '028000', true],
    ['a PCI bridge', '060400', true],
  ])('%s', (_, code, is) => {
    const shape = { id: '8086:1', multiFunction: true, ...(is ? { bridge } : {}) };
    const device = at({ class: code, config: configBytes(shape) });
    expect(isBridge(device)).toBe(is);
    expect(readinessOf(device).readiness === 'bridge').toBe(is);
  });

  test('by its class where the header is not readable, or all ones', () => {
    const ones = new Uint8Array(64).fill(0xff);
    for (const config of [ones, new Uint8Array(3)]) {
      expect(isBridge(at({ class: '060400', config }))).toBe(true);
      expect(isBridge(at({ class: '060100', config }))).toBe(false);
      expect(isBridge(at({ class: '020000', config }))).toBe(false);
    }
  });
});

test('a member of the group is found by the links of the group, on whatever bus', () => {
  bootMachine({
    ...server,
    links: {
      ...server.links,
      'sys/kernel/iommu_groups/20/devices/serial.0': 'sys/devices/platform/serial.0',
      'sys/devices/platform/serial.0/driver': 'sys/bus/platform/drivers/serial8250',
      'sys/devices/platform/serial.0/subsystem': 'sys/bus/platform',
    },
    files: { ...server.files, 'sys/bus/platform/drivers/serial8250/x': '' },
  });
  expect(iommuGroupMembers(20)).toContainEqual({
    ...{ bdf: 'serial.0', bus: 'platform', driver: 'serial8250', blocks: true },
  });
  expect(readinessOf(readPciDevice(PF))).toEqual({
    readiness: 'blocked',
    blockers: ['serial.0 (serial8250)'],
  });
});

test.each(['EMFILE', 'ENFILE'])('no descriptor is left to read by: %s', (code) => {
  bootMachine(server);
  const left = Object.assign(new Error(code), { code, errno: -24, syscall: 'open' });
  for (const name of ['openSync', 'readdirSync'] as const) {
    const spy = jest.spyOn(fs, name).mockImplementation(() => {
      throw left;
    });
    const read = name === 'openSync' ? () => readPciDevice(PF) : () => iommuGroupMembers(20);
    expect(read).toThrow(
      expect.objectContaining({
        ...{ name: 'VfioError', code, errno: 24 },
        hint: expect.stringMatching(/limit of open files.*ulimit -n/),
      }),
    );
    spy.mockRestore();
  }
});
