/** What holds for every command: failures under --json, colours on a terminal only. */
import type { Command } from 'commander';
import { configCommand } from '../../src/cli/config';
import { doctorCommand } from '../../src/cli/doctor';
import { listCommand } from '../../src/cli/list';
import { commandNames, loadProgram } from '../../src/cli/program';
import { topologyCommand } from '../../src/cli/topology';
import * as machines from '../fixtures/machines';
import { bootMachine, removeMachine } from './fake-machine';
import { capture } from './run-command';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

beforeAll(() => bootMachine(machines.sriovServer));
afterAll(removeMachine);

/** As the program does it: on standard output. */
async function vfio(name: string, ...args: string[]) {
  const [out, err] = [capture(), capture()];
  const spies = [
    jest.spyOn(process.stdout, 'write').mockImplementation((text) => out.write(text)),
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => err.write(text)),
  ];
  process.exitCode = 0;
  try {
    const program = await loadProgram(name);
    await program.parseAsync(['node', 'vfio', name, ...args]);
    return { status: process.exitCode, out: out.text, err: err.text };
  } finally {
    process.exitCode = 0;
    for (const spy of spies) spy.mockRestore();
  }
}

const withAddress: Record<string, string[]> = {
  info: ['x'],
  config: ['x'],
  regs: ['x', 'config'],
  reset: ['x'],
  bind: ['x'],
  restore: ['x'],
  sriov: ['x', '1'],
  doctor: ['x'],
  topology: ['--split', 'x', 'y'],
  uapi: ['--probe', 'x'],
};

test.each(Object.entries(withAddress))('a failure of %s under --json', async (name, args) => {
  const { status, out, err } = await vfio(name, ...args, '--json');
  expect([status, err]).toEqual([name === 'doctor' ? 3 : 1, '']);
  expect(JSON.parse(out)).toEqual({
    error: {
      code: 'ERR_VFIO_INVALID_BDF',
      message: 'not a PCI address: "x"',
      hint: expect.stringContaining('DOMAIN:BUS:DEVICE.FUNCTION'),
    },
  });
});

test('every command has --json but what gives no data: the lab and shell scripts', async () => {
  const { commands } = await loadProgram(undefined);
  const without = commands.filter(({ options }) => !options.some(({ long }) => long === '--json'));
  expect(without.map((command) => command.name())).toEqual(['lab', 'completion']);
  const names = [...Object.keys(withAddress), 'list', 'lab', 'completion'];
  expect([...commandNames].sort()).toEqual(names.sort());
});

describe('colours', () => {
  const noColour = process.env.NO_COLOR;
  const term = process.env.TERM;
  beforeEach(() => {
    delete process.env.NO_COLOR;
    process.env.TERM = 'xterm';
  });
  afterAll(() => {
    if (noColour !== undefined) process.env.NO_COLOR = noColour;
    process.env.TERM = term;
    process.exitCode = 0;
  });

  async function escapes(command: (output: never) => Command, args: string[], isTTY: boolean) {
    const output = Object.assign(capture(), { isTTY });
    await command(output as never).parseAsync(['node', 'vfio', ...args]);
    expect(output.text).not.toBe('');
    return output.text.includes('\x1b[');
  }

  test.each([
    [listCommand, []],
    [configCommand, ['0000:03:00.0']],
    [doctorCommand, []],
  ] as const)('%p: on a terminal, unless NO_COLOR', async (command, args) => {
    expect(await escapes(command, [...args], true)).toBe(true);
    expect(await escapes(command, [...args], false)).toBe(false);
    process.env.NO_COLOR = '1';
    expect(await escapes(command, [...args], true)).toBe(false);
  });

  test('topology, whose lines are its picture, has none', async () => {
    expect(await escapes(topologyCommand, [], true)).toBe(false);
  });
});
