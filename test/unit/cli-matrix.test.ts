/** Every command that only reads, on every machine, as text and as JSON. */
import type { Command } from 'commander';
import { configCommand } from '../../src/cli/config';
import { doctorCommand } from '../../src/cli/doctor';
import { infoCommand } from '../../src/cli/info';
import { listCommand } from '../../src/cli/list';
import type { Output } from '../../src/cli/output';
import { regsCommand } from '../../src/cli/regs';
import { topologyCommand } from '../../src/cli/topology';
import * as machines from '../fixtures/machines';
import { bootMachine, removeMachine } from './fake-machine';
import { runCommand } from './run-command';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

type Row = readonly [name: string, command: (output: Output) => Command, ...args: string[]];

const ofMachine: readonly Row[] = [
  ['list', listCommand],
  ['doctor', doctorCommand],
  ['topology', topologyCommand],
];
const ofDevice: readonly Row[] = [
  ['doctor BDF', doctorCommand],
  ['info', infoCommand],
  ['config', configCommand],
  ['regs config', regsCommand, 'config'],
];

/** What must not reach a terminal: controls other than the newline. */
const raw = /[^\P{Cc}\n]/u;

/** A device that has no config space in sysfs is a message; a warning of doctor is a status. */
const statuses: Readonly<Record<string, readonly number[]>> = {
  list: [0],
  topology: [0],
  info: [0],
  doctor: [0, 1, 2],
  'doctor BDF': [0, 1, 2],
  config: [0, 1],
  'regs config': [0, 1],
};

async function check([name, command, ...words]: Row, bdfs: readonly string[]): Promise<void> {
  const text = await runCommand(command, ...bdfs, ...words);
  expect([name, statuses[name]]).toEqual([name, expect.arrayContaining([text.status])]);
  expect(text.out + text.err).not.toMatch(raw);
  expect(text.err).not.toMatch(/\n +at /);
  if (text.err !== '') expect([name, text.out]).toEqual([name, '']);
  const json = await runCommand(command, ...bdfs, ...words, '--json');
  expect([name, json.status, json.err]).toEqual([name, text.status, '']);
  expect(json.out).not.toMatch(raw);
  const { error } = JSON.parse(json.out);
  if (text.err !== '') expect(text.err).toContain(error.message);
}

test.each(Object.entries(machines))('%s', async (_, machine) => {
  bootMachine(machine);
  for (const row of ofMachine) await check(row, []);
  for (const bdf of Object.keys(machine.devices)) {
    for (const row of ofDevice) await check(row, [bdf]);
  }
});

test('the machines have readable config space somewhere', async () => {
  bootMachine(machines.sriovServer);
  for (const row of ofDevice) {
    expect((await runCommand(row[1], '0000:03:00.0', ...row.slice(2).map(String))).err).toBe('');
  }
});
