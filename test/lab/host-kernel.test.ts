/** `--kernel host`, where this machine has the image of the kernel that it runs. */
import { release } from 'node:os';
import { Writable } from 'node:stream';
import { LabError, startLab } from 'vfio/lab';
import { resolveKernel } from '../../src/lab/kernel/resolve';

jest.setTimeout(180_000);

function missing(): string | undefined {
  try {
    resolveKernel('host');
    return undefined;
  } catch (error) {
    if (error instanceof LabError) return error.message;
    throw error;
  }
}

const reason = missing();
if (reason) console.info(`--kernel host is not booted: ${reason}`);

(reason ? test.skip : test)("the machine's own kernel boots, with its modules", async () => {
  let output = '';
  const stdout = new Writable({
    write: (chunk, _encoding, done) => {
      output += chunk;
      done();
    },
  });
  const command = ['sh', '-c', 'uname -r; modprobe vfio-pci && ls /sys/bus/pci/drivers'];
  const lab = await startLab({ kernel: 'host', devices: ['edu'] });
  try {
    expect(await lab.run(command, { stdout })).toEqual({ status: 0 });
    expect(output.split('\n')).toEqual(expect.arrayContaining([release(), 'vfio-pci']));
  } finally {
    await lab.close();
  }
});
