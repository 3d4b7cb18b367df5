/**
 * Run by sysfs-write.test.ts as a process whose pool has one thread: calls every function that writes to sysfs,
 * with a FIFO in place of the file, so that the write waits for a reader. Prints what still runs meanwhile.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMdev, removeMdev } from '../../src/device/mdev';
import { resetDevice } from '../../src/device/reset';
import { changeVfs } from '../../src/device/sriov-change';
import { native } from '../../src/native';
import { bindDevices, bindDriver } from '../../src/pci/binding/bind-transaction';
import { restoreDevices } from '../../src/pci/binding/restore';
import { Sriov } from '../../src/pci/sriov';
import * as machines from '../fixtures/machines';
import { bootMachine } from './fake-machine';
import { SYS } from './fake-machine-paths';

const GPU = '0000:01:00.0';
const SOUND = '0000:01:00.1';
const PF = '0000:03:00.0';
const UUID = '12345678-1234-1234-1234-123456789abc';
const type = 'class/mdev_bus/mtty/mdev_supported_types/mtty-1/create';
const mdev = `bus/mdev/devices/${UUID}/remove`;
const device = (bdf: string, file: string) => `bus/pci/devices/${bdf}/${file}`;

interface Call {
  readonly name: string;
  readonly blocks: string;
  readonly machine?: typeof machines.sriovServer;
  readonly call: () => Promise<unknown>;
  /** What is done before the file blocks. */
  readonly before?: () => Promise<() => Promise<unknown>>;
}

const force = { force: true };
const unbindSound = 'bus/pci/drivers/snd_hda_intel/unbind';
const numVfs = device(PF, 'sriov_numvfs');

const calls: readonly Call[] = [
  { name: 'bindDriver', blocks: unbindSound, call: () => bindDriver(SOUND) },
  { name: 'bindDevices', blocks: unbindSound, call: () => bindDevices([SOUND]) },
  {
    name: 'driver_override',
    blocks: device(GPU, 'driver_override'),
    call: () => bindDriver(GPU),
  },
  {
    name: 'Binding.restore',
    blocks: device(GPU, 'driver_override'),
    call: () => Promise.reject(new Error('not called')),
    before: async () => {
      const binding = await bindDriver(GPU);
      return () => binding.restore();
    },
  },
  {
    name: 'restoreDevices',
    blocks: 'bus/pci/drivers/vfio-pci/unbind',
    call: () => restoreDevices([GPU]),
  },
  {
    name: 'Sriov.setNumVfs',
    blocks: numVfs,
    machine: machines.sriovServer,
    call: () => new Sriov(PF).setNumVfs(3),
  },
  {
    name: 'changeVfs',
    blocks: numVfs,
    machine: machines.sriovServer,
    call: () => changeVfs(PF, 3),
  },
  {
    name: 'resetDevice',
    blocks: device(SOUND, 'reset'),
    call: () => resetDevice(SOUND, force),
  },
  { name: 'createMdev', blocks: type, call: () => createMdev({ parent: 'mtty', id: 'mtty-1' }) },
  { name: 'removeMdev', blocks: mdev, call: () => removeMdev(UUID) },
];

function file(path: string): void {
  mkdirSync(dirname(join(SYS, path)), { recursive: true });
  writeFileSync(join(SYS, path), '');
}

/** What lets go of a device: a close, and a request such as SET_IRQS. */
async function letGo(): Promise<string> {
  const fd = native.open('/dev/null', constants.O_RDWR);
  const result = await native.ioctlValueAsync(fd, 0, 0);
  return `${result < 0 ? 'ioctl' : 'no errno'}, close ${await native.closeAsync(fd)}`;
}

async function blocked({
  name,
  blocks,
  machine,
  call,
  before,
}: Call): Promise<() => Promise<void>> {
  bootMachine(machine ?? machines.multiFunctionCard);
  for (const path of [type, mdev]) file(path);
  const started = (await before?.()) ?? call;
  const path = join(SYS, blocks);
  rmSync(path, { force: true });
  execFileSync('mkfifo', [path]);
  let state = 'waits';
  const settled = started().then(
    () => {
      state = 'is done';
    },
    (error: Error) => {
      state = `failed: ${error.message}`;
    },
  );
  await sleep(500);
  console.log(`${name} ${state}; ${await letGo()}`);
  return async () => {
    const both = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    rmSync(path);
    writeFileSync(path, '3\n');
    await sleep(100);
    closeSync(both);
    await settled;
  };
}

async function main(): Promise<void> {
  for (const call of calls) await (await blocked(call))();
  await blocked(calls[0]!);
  console.log(SYS);
  process.exit(0);
}

void main();
