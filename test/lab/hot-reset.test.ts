/**
 * A hot reset of two functions of one slot that are in IOMMU groups of their own, as the kernel knows of
 * the 82576 that its functions reach each other by way of the port only. The library must be built
 * (npm run build), as the guest runs it.
 */
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { startLab } from 'vfio/lab';
import { findLabKernel } from '../../src/lab/kernel-cache';

jest.setTimeout(300_000);

const kernel = findLabKernel() ? 'lab' : 'stock';
if (kernel === 'stock') console.info('no lab kernel is built: by groups only');
const backends = kernel === 'lab' ? (['group', 'iommufd'] as const) : (['group'] as const);

const [first, second] = ['0000:01:00.0', '0000:01:00.1'];

/** Of the second function, while only the first is open. */
const blockers = {
  group: expect.stringMatching(/^in IOMMU group \d+, which is not open here$/),
  iommufd: 'not open in the same iommufd',
};

test('both functions have to be open; what is in the way is told', async () => {
  let told = '';
  const stdout = new Writable({
    write: (chunk, _encoding, done) => {
      told += chunk;
      done();
    },
  });
  const lab = await startLab({
    command: [process.execPath, join(__dirname, 'guest/two-groups.cjs')],
    kernel,
    // The second goes to the port of the first; its own stays empty.
    devices: ['igb,multifunction=on', 'igb,bus=igb0-port,addr=0.1'],
    stdout,
    stderr: process.stderr,
    timeout: 200,
  });
  try {
    expect(await lab.exit).toEqual({ status: 0 });
  } finally {
    await lab.close();
  }
  expect(
    told
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    ['groups', 2],
    ...backends.flatMap((backend) => [
      [`${backend} alone`, [{ bdf: first }, { bdf: second, blocker: blockers[backend] }]],
      [
        `${backend} refused`,
        ['ERR_VFIO_NO_RESET', expect.stringContaining(`in the way: ${second} is`)],
      ],
      [`${backend} both`, ['ready', 'ready']],
      [`${backend} reset`, 'done'],
      [`${backend} registers`, [true, true]],
    ]),
  ]);
});
