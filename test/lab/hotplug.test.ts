/**
 * What happens to a device from outside, by way of QEMU: errors (AER), removal with and without a
 * warning. The library must be built (npm run build), as the guest runs it.
 */

import { join } from 'node:path';
import { Writable } from 'node:stream';
import { startLab } from 'vfio/lab';
import { findLabKernel } from '../../src/lab/kernel/cache';

jest.setTimeout(500_000);

const kernels = ['stock'];
if (findLabKernel()) kernels.push('lab');
else console.info('no lab kernel is built: on the stock kernel only');

/** Run a program in a guest, and each monitor command that it asks for; what it printed besides. */
async function runInGuest(program: string, kernel: string, devices: string[]): Promise<string[]> {
  const told: string[] = [];
  let rest = '';
  const stdout = new Writable({
    write(chunk, _encoding, done) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        const command = /^hmp: (.*)$/.exec(line)?.[1];
        if (command === undefined) told.push(line);
        else lab.qmp.human(command).then((answer) => answer && told.push(`monitor: ${answer}`));
      }
      done();
    },
  });
  const lab = await startLab({
    kernel,
    devices,
    // By ACPI, the kernel would not notice that a device is pulled out.
    qemuArgs: ['-global', 'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off'],
  });
  try {
    const command = [process.execPath, join(__dirname, 'guest', program)];
    expect(await lab.run(command, { stdout, timeout: 400 })).toEqual({ status: 0 });
  } finally {
    await lab.close();
  }
  return told;
}

test.each(kernels)('errors and removals of devices in use, %s kernel', async (kernel) => {
  const told = await runInGuest('hotplug.cjs', kernel, ['igb', 'nvme', 'nvme', 'nvme']);
  expect(told).toEqual([
    expect.stringMatching(/^monitor: OK id: igb0-port /),
    'error: {"vector":0,"count":1}',
    'error: reset, and the device answers true',
    'request: closed false there true',
    'request: gone',
    'default: closed true gone',
    'surprise: status ffff',
    'surprise: register nothing',
    'surprise: requested',
    'surprise: reset EAGAIN',
    'surprise: gone',
    'left: 0',
  ]);
});
