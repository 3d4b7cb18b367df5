/** An error and a finding of `vfio doctor` about the same situation say the same. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { resetDevice } from '../../src/device/reset';
import { examine } from '../../src/doctor/examine';
import type { VfioError } from '../../src/errors';
import { bindDriver, planBind } from '../../src/pci/binding/bind-transaction';
import { Sriov } from '../../src/pci/sriov';
import * as machines from '../fixtures/machines';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';
import { ROOT } from './fake-machine-paths';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

const server = machines.sriovServer;

test.each<[string, FakeMachine, string, (bdf: string) => Promise<unknown>]>([
  ['bridge', machines.arm, '0000:00:00.0', async (bdf) => planBind([bdf])],
  ['in-use', server, '0000:03:00.1', async (bdf) => planBind([bdf])],
  ['no-group', machines.laptop, '0000:01:00.0', (bdf) => bindDriver(bdf)],
  ['no-reset', machines.blockedGroup, '0000:01:00.1', (bdf) => resetDevice(bdf, { force: true })],
  [
    'sriov-disabled',
    server,
    '0000:03:00.0',
    (bdf) => {
      rmSync(join(ROOT, `sys/bus/pci/devices/${bdf}/sriov_numvfs`));
      return new Sriov(bdf).setNumVfs(1);
    },
  ],
])('%s', async (id, machine, bdf, fails) => {
  bootMachine(machine);
  const finding = examine(bdf).find((found) => found.id === id);
  const error: VfioError = await fails(bdf).then(
    () => Promise.reject(new Error('it did not fail')),
    (reason) => reason,
  );
  expect(error.hint).toBe(finding?.fix?.text);
});
