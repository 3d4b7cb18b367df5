import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sriovCommand } from '../../src/cli/sriov';
import { readPciDevice } from '../../src/pci/sysfs';
import * as machines from '../fixtures/machines';
import { bootMachine, removeMachine } from './fake-machine';
import { runCommand } from './run-command';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

const PF = '0000:03:00.1';
const TOKEN = '2ab74924-c335-45f4-9b16-8569e5b08258';

beforeEach(() => {
  bootMachine(machines.sriovServer);
});
afterAll(removeMachine);

const sriov = (...args: string[]) => runCommand(sriovCommand, ...args);

test('sets a number, and says from what to what', async () => {
  expect((await sriov(PF, '2')).out).toMatch(/^0000:03:00.1: 0 -> 2 VFs\n/);
  expect(readFileSync(join(readPciDevice(PF).path, 'sriov_numvfs'), 'latin1')).toMatch(/^2/);
});

test('--dry-run: a number changes by way of 0', async () => {
  const file = join(readPciDevice('0000:03:00.0').path, 'sriov_numvfs');
  const { out } = await sriov('03:00.0', '3', '--dry-run');
  expect(out).toBe(`echo 0 > ${file}\necho 3 > ${file}\n`);
  expect(readFileSync(file, 'latin1')).toBe('2\n');
});

test.each([
  [['03:00.1', '8'], /has 0 to 7 VFs, not 8/],
  [['03:00.1', '-x'], /unknown option|0 to 7/],
  [['03:00.1', 'two'], /has 0 to 7 VFs/],
  [['00:03.0', '1'], /has no SR-IOV/],
  [['03:00.1', '1', '--vf-token', TOKEN], /is bound to igb\nvfio: only a PF under vfio-pci/],
  [['03:00.0', '1', '--vf-token', 'x'], /UUID/],
])('refuses %j', async (args, message) => {
  const { status, err } = await sriov(...args);
  expect([status, err]).toEqual([1, expect.stringMatching(message)]);
});
