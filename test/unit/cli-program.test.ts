import { splitCommandLine } from '../../src/cli/arguments';
import { commandNames, loadProgram } from '../../src/cli/program';

jest.mock('../../src/native', () => require('./fake-native'));

const namesOf = async (name?: string) =>
  (await loadProgram(name)).commands.map((command) => command.name());

test('a command line loads its own command; help loads all', async () => {
  for (const name of commandNames) expect(await namesOf(name)).toEqual([name]);
  for (const name of [undefined, '--help', 'help', 'no-such-command', '__proto__']) {
    expect(await namesOf(name)).toEqual(commandNames);
  }
});

test('--version needs none of them', async () => {
  const program = await loadProgram('--version');
  expect(program.commands).toEqual([]);
  expect(program.version()).toMatch(/^\d+\.\d+\.\d+/);
});

test('listing loads nothing that opens devices', async () => {
  const loaded: string[] = [];
  for (const path of ['native', 'device/open', 'lab/index']) {
    jest.doMock(`../../src/${path}`, () => {
      loaded.push(path);
      return {};
    });
  }
  await jest.isolateModulesAsync(() => require('../../src/cli/program').loadProgram('list'));
  expect(loaded).toEqual([]);
  await jest.isolateModulesAsync(() => require('../../src/cli/program').loadProgram('reset'));
  expect(loaded).toContain('device/open');
});

test('only the lab has a command of its guest behind --', () => {
  const split = (...args: string[]) => splitCommandLine(['node', 'vfio', ...args]);
  expect(split('lab', '--device', 'edu', '--', 'ls', '--', 'x')).toEqual({
    own: ['node', 'vfio', 'lab', '--device', 'edu'],
    guestCommand: ['ls', '--', 'x'],
  });
  expect(split('restore', '--', '01:00.0')).toEqual({
    own: ['node', 'vfio', 'restore', '--', '01:00.0'],
    guestCommand: [],
  });
});
