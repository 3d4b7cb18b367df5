/** IOMMUs on the lab kernel; the suites of `test/iommu` run on the stock kernel. */
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { startLab } from 'vfio/lab';
import { findLabKernel } from '../../src/lab/kernel/cache';

jest.setTimeout(120_000);

const onLabKernel = findLabKernel() ? test : test.skip;
if (!findLabKernel()) console.info('skipped: no lab kernel is built (npx vfio lab kernel)');

onLabKernel.each(['amd', 'virtio'])('a device behind %s can be opened', async (iommu) => {
  const lab = await startLab({ kernel: 'lab', iommu, devices: ['edu,addr=0x10'] });
  try {
    const vfio = `"${process.execPath}" "${join(__dirname, '../../dist/cli.js')}"`;
    const script = `${vfio} bind $0 && ${vfio} regs $0 bar0 --unsafe-read --length 4`;
    const stdout = new PassThrough();
    const [exit, printed] = await Promise.all([
      lab.run(['sh', '-c', script, '0000:00:10.0'], { stdout }).finally(() => stdout.end()),
      text(stdout),
    ]);
    expect(printed).toContain('010000ed');
    expect(exit).toEqual({ status: 0 });
  } finally {
    await lab.close();
  }
});
