import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sriovCommand } from '../../src/cli/sriov';
import { readPciDevice } from '../../src/pci/sysfs';
import * as machines from '../fixtures/machines';
import { bootMachine, capture, removeMachine } from './fake-machine';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

const PF = '0000:03:00.1';
const TOKEN = '2ab74924-c335-45f4-9b16-8569e5b08258';
let errors: string;

beforeEach(() => {
  errors = '';
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
    errors += text;
    return true;
  });
  bootMachine(machines.sriovServer);
});
afterEach(() => {
  jest.restoreAllMocks();
  process.exitCode = 0;
});
afterAll(removeMachine);

async function sriov(...args: string[]): Promise<string> {
  const output = capture();
  await sriovCommand(output).parseAsync(['node', 'vfio', ...args]);
  return output.text;
}

test('sets a number, and says from what to what', async () => {
  expect(await sriov(PF, '2')).toMatch(/^0000:03:00.1: 0 -> 2 VFs\n/);
  expect(readFileSync(join(readPciDevice(PF).path, 'sriov_numvfs'), 'latin1')).toMatch(/^2/);
});

test('--dry-run: a number changes by way of 0', async () => {
  const file = join(readPciDevice('0000:03:00.0').path, 'sriov_numvfs');
  expect(await sriov('03:00.0', '3', '--dry-run')).toBe(`echo 0 > ${file}\necho 3 > ${file}\n`);
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
  jest.spyOn(process, 'exit').mockImplementation(() => {
    throw new Error('exit');
  });
  await sriov(...args).catch(() => {});
  expect(errors).toMatch(message);
});
