/**
 * Devices that are reset side by side, under load: each reset takes the device's registers out of the
 * map of the address space and puts them back. With several processors at it, QEMU once lost writes to
 * the interrupt controller, and a processor had no timer any more.
 */
import { Writable } from 'node:stream';
import { startLab } from 'vfio/lab';

jest.setTimeout(180_000);

const SECONDS = 30;
const SCRIPT = `
  cd /sys/bus/pci/devices
  end=$(( $(date +%s) + ${SECONDS} ))
  going() { [ $(date +%s) -lt $end ]; }
  for device in 0000:0[12]:00.0; do
    while going; do echo 1 > $device/reset && echo $device; done &
    while going; do cat $device/config > /dev/null; done &
  done
  for busy in 1 2; do while going; do sleep 0.01; done & done
  wait
`;

test('lose neither the machine nor its timers', async () => {
  let resets = '';
  const stdout = new Writable({
    write: (chunk, _encoding, done) => {
      resets += chunk;
      done();
    },
  });
  const lab = await startLab({ devices: ['nvme', 'igb'] });
  try {
    const options = { timeout: 4 * SECONDS, stdout };
    expect(await lab.run(['sh', '-c', SCRIPT], options)).toEqual({ status: 0 });
  } finally {
    await lab.close();
  }
  // A reset waits a tenth of a second for the device.
  for (const device of ['0000:01:00.0', '0000:02:00.0']) {
    const count = resets.split('\n').filter((line) => line === device).length;
    expect(count).toBeGreaterThan(SECONDS / 2);
  }
});
