/**
 * A process without rights, which was handed descriptors or nodes of groups and containers.
 *
 * @kernel stock
 */
import { chmodSync, chownSync, closeSync, openSync } from 'node:fs';
import { bound, findDevice } from './lab-devices';
import { asNobody, NOBODY } from './nobody';

bound('edu', 'nvme');

test('with descriptors of container and group handed over', async () => {
  const { bdf, iommuGroup } = findDevice('edu');
  const fds = ['/dev/vfio/vfio', `/dev/vfio/${iommuGroup}`].map((path) => openSync(path, 'r+'));
  try {
    const output = await asNobody(
      1024,
      `const addressSpace = openAddressSpace({ backend: 'group', fd: 3 });
       const dev = await openDevice('${bdf}', { addressSpace, fds: { group: 4 } });
       const buffer = await dev.dma.alloc(4096);
       console.log(process.getuid(), dev.region('bar0').read32(0).toString(16), buffer.u32[0]);
       await addressSpace.close();`,
      fds,
    );
    expect(output).toBe(`${NOBODY} 10000ed 0\n`);
  } finally {
    for (const fd of fds) closeSync(fd);
  }
});

test('without the right to the node: the error names the udev rule', async () => {
  const { bdf, iommuGroup } = findDevice('edu');
  chmodSync('/dev/vfio/vfio', 0o666);
  const output = await asNobody(1024, `await openDevice('${bdf}', { backend: 'group' });`);
  expect(JSON.parse(output)).toMatchObject({
    code: 'EACCES',
    hint: expect.stringContaining(`KERNEL=="${iommuGroup}", OWNER=`),
  });
});

test('with the nodes handed over, up to the limit of locked memory and no further', async () => {
  const { bdf, iommuGroup } = findDevice('edu');
  const node = `/dev/vfio/${iommuGroup}`;
  chmodSync('/dev/vfio/vfio', 0o666);
  chownSync(node, NOBODY, NOBODY);
  try {
    const output = await asNobody(
      64,
      `const dev = await openDevice('${bdf}', { backend: 'group' });
       await dev.dma.alloc(32768);
       console.log(JSON.stringify(dev.dma.usage(), (_, v) => v));
       await dev.dma.alloc(65536).catch(({ code, message, hint }) =>
         console.log(JSON.stringify({ code, message, hint })));
       await dev.dma.alloc(32768);
       console.log('"32768 more"');
       await dev.close();`,
    );
    const [usage, refusal, more] = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(usage).toMatchObject({ bytes: 32768, memlockLimit: 65536, memlockUsed: 32768 });
    expect(refusal).toMatchObject({
      code: 'ENOMEM',
      hint: expect.stringContaining('the limit is 65536 bytes, 32768 are pinned, and 65536 more'),
    });
    expect(more).toBe('32768 more');
  } finally {
    chownSync(node, 0, 0);
  }
});
