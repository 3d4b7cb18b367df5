import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configCommand } from '../../src/cli/config';
import { infoCommand } from '../../src/cli/info';
import { printRegisters, regsCommand } from '../../src/cli/regs';
import { resetCommand } from '../../src/cli/reset';
import * as machines from '../fixtures/machines';
import { bootMachine, removeMachine } from './fake-machine';
import { ROOT } from './fake-machine-paths';
import { capture, runCommand as run } from './run-command';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

/** What must not reach a terminal: controls other than the newline. */
const raw = /[^\P{Cc}\n]/u;

describe('vfio info', () => {
  test('of a PF: its VFs, resets and nodes', async () => {
    bootMachine(machines.sriovServer);
    const device = JSON.parse((await run(infoCommand, '0000:03:00.0', '--json')).out);
    expect(device).toMatchObject({
      driver: 'vfio-pci',
      readiness: 'ready',
      vfs: ['0000:03:10.0', '0000:03:10.2'],
      resetMethods: ['flr', 'bus'],
      capabilities: ['PCI Express', 'Access Control Services'],
      nodes: [{ path: join(ROOT, 'dev/vfio/20'), holders: [] }],
    });
    expect((await run(infoCommand, '03:00.0')).out).toContain('resets           flr, bus\n');
  });

  test('of a device that is not there', async () => {
    expect(await run(infoCommand, '0000:7f:00.0')).toEqual({
      status: 1,
      out: '',
      err: expect.stringMatching(/^vfio: there is no PCI device 0000:7f:00.0\nvfio: lspci -D/),
    });
  });
});

describe('vfio config', () => {
  test('decoded, raw and as JSON', async () => {
    bootMachine(machines.sriovServer);
    expect((await run(configCommand, '0000:03:00.0')).out).toMatch(
      /^header, endpoint\n(.*\n)*\[100\] Access Control Services version 1\n/,
    );
    const dump = (await run(configCommand, '0000:03:00.0', '--raw')).out.split('\n');
    expect(dump[1]).toBe('00: 86 80 c9 10 00 00 10 00 00 00 00 00 00 00 80 00');
    expect(dump[17]).toMatch(/^100: 0d 00 01 00 1d 00 1d 00/);
    const config = JSON.parse((await run(configCommand, '0000:03:00.0', '--json')).out);
    expect(config.header.vendorId).toBe(0x8086);
  });
});

describe('vfio regs', () => {
  test('of config space need no open device; a map names registers and fields', async () => {
    bootMachine(machines.sriovServer);
    const map = join(ROOT, 'map.json');
    const registers = {
      VENDOR: { offset: 0, bits: 16 },
      STATUS: { offset: 6, bits: 16, fields: { CAPS: 4, SPEED: '10:9' } },
    };
    writeFileSync(map, JSON.stringify(registers));
    const regs = async (...args: string[]) =>
      (await run(regsCommand, '0000:03:00.0', 'config', ...args)).out;
    expect(await regs('--map', map)).toBe('VENDOR  0x8086\nSTATUS  0x0010  CAPS=0x1 SPEED=0x0\n');
    expect(await regs('--offset', '0x40', '--length', '8')).toBe(
      '0x0040  0x00020010\n0x0044  0x10000000\n',
    );
  });

  test('--watch prints what changes, until it is told to stop', async () => {
    bootMachine(machines.sriovServer);
    const stop = new AbortController();
    const output = capture();
    const flags = { offset: '0', length: '8', watch: 4 };
    const watching = printRegisters('0000:03:00.0', 'config', flags, output, stop.signal);
    while (output.text === '') await new Promise(setImmediate);
    writeFileSync(
      join(ROOT, 'sys/bus/pci/devices/0000:03:00.0/config'),
      new Uint8Array(64).fill(7),
    );
    while (!output.text.includes('0x07070707')) await new Promise((wake) => setTimeout(wake, 4));
    stop.abort();
    await watching;
    expect(output.text).toMatch(/^0x0000 {2}0x10c98086\n.*\n\d{4}-.*Z\n0x0000 {2}0x07070707\n/);
  });

  test('--watch takes any number of milliseconds, and ends well by SIGINT', async () => {
    bootMachine(machines.sriovServer);
    const watching = run(regsCommand, '0000:03:00.0', 'config', '--length', '4', '--watch', '250');
    await new Promise(setImmediate);
    process.emit('SIGINT', 'SIGINT');
    expect(await watching).toEqual({ status: 0, out: '0x0000  0x10c98086\n', err: '' });
  });

  test.each([
    [['bar0'], /may change the device\nvfio: .*--unsafe-read/],
    [['bar9'], /'bar9' is invalid.*config/],
    [['config', '--offset', '3'], /--offset is not a multiple of 4: 3/],
    [['config', '--watch', '0'], /argument '0' is invalid. It is 1 to \d+ ms/],
    [['config', '--watch', '1e3'], /It is 1 to \d+ ms/],
    [['config', '--watch', '2147483648'], /It is 1 to \d+ ms/],
    [['bar0', '--unsafe-read'], /is bound to igb, not to vfio-pci|igb/],
  ])('refuses %j', async (args, message) => {
    bootMachine(machines.sriovServer);
    const err = expect.stringMatching(message);
    expect(await run(regsCommand, '0000:03:00.1', ...args)).toEqual({ status: 1, out: '', err });
  });

  test('a malformed map is a message', async () => {
    bootMachine(machines.sriovServer);
    const map = join(ROOT, 'map.json');
    writeFileSync(map, '{');
    expect(await run(regsCommand, '0000:03:00.0', 'config', '--map', map)).toEqual({
      status: 1,
      out: '',
      err: expect.stringMatching(/^vfio: register map: .*\nvfio: a map looks like/),
    });
  });
});

describe('vfio reset', () => {
  test('leaves a device of a kernel driver alone, unless told otherwise', async () => {
    bootMachine(machines.sriovServer);
    const reset = (...args: string[]) => run(resetCommand, '0000:03:00.1', ...args);
    expect((await reset()).err).toMatch(/in use by the driver igb\nvfio: .*--force/);
    expect((await reset('--force')).err).toMatch(/has no reset of its own/);
    writeFileSync(join(ROOT, 'sys/bus/pci/devices/0000:03:00.1/reset'), '');
    expect((await reset('--force')).out).toBe('0000:03:00.1 was reset (flr)\n');
  });

  test('a variant of vfio-pci is no kernel driver: it resets by VFIO', async () => {
    const { devices, ...machine } = machines.sriovServer;
    const igb = devices['0000:03:00.1']!;
    const variant = { ...devices, '0000:03:00.1': { ...igb, driver: 'mlx5_vfio_pci' } };
    bootMachine({ ...machine, devices: variant });
    const { status, err } = await run(resetCommand, '0000:03:00.1');
    // The fake kernel has no node for it.
    expect([status, err]).toEqual([
      1,
      expect.stringMatching(/^vfio: open \S+\/dev\/vfio\/21: ENOENT/),
    ]);
  });
});

test('hostile sysfs and config bytes end in text or a message, never raw', async () => {
  bootMachine(machines.hostile);
  for (const bdf of ['0000:00:01.0', '0000:00:02.0', '0000:00:03.0']) {
    for (const command of [infoCommand, configCommand]) {
      for (const flags of [[], ['--json'], ...(command === configCommand ? [['--raw']] : [])]) {
        const { out, err } = await run(command, bdf, ...flags);
        expect(out + err).not.toMatch(raw);
        expect(out + err).not.toBe('');
      }
    }
  }
});
