/**
 * A process without rights, which was handed descriptors or nodes of iommufd.
 *
 * @kernel lab
 */
import { once } from 'node:events';
import { chownSync, closeSync, openSync } from 'node:fs';
import { cdevPath } from '../../src/device/cdev';
import { IOMMUFD_PATH } from '../../src/dma/container';
import { bound, findDevice } from './lab-devices';
import { asNobody, NOBODY, nobody } from './nobody';

bound('edu', 'nvme');

test('with descriptors of iommufd and device handed over, up to the limit and no further', async () => {
  const pci = findDevice('edu');
  const fds = [IOMMUFD_PATH, cdevPath(pci)!].map((path) => openSync(path, 'r+'));
  try {
    const output = await asNobody(
      64,
      `const addressSpace = openAddressSpace({ backend: 'iommufd', fd: 3 });
       const dev = await openDevice('${pci.bdf}', { addressSpace, fds: { device: 4 } });
       const buffer = await dev.dma.alloc(32768);
       console.log(JSON.stringify([process.getuid(), dev.region('bar0').read32(0), buffer.u32[0]]));
       await dev.dma.alloc(65536).catch(({ code, message, hint }) =>
         console.log(JSON.stringify({ code, message, hint })));
       await dev.dma.alloc(4096);
       console.log('"4096 more"');
       await addressSpace.close();`,
      fds,
    );
    const [opened, refusal, more] = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(opened).toEqual([NOBODY, 0x010000ed, 0]);
    expect(refusal).toMatchObject({
      code: 'ENOMEM',
      hint: expect.stringContaining('the limit is 65536 bytes, 32768 are pinned'),
    });
    expect(more).toBe('4096 more');
  } finally {
    for (const fd of fds) closeSync(fd);
  }
});

test('with the nodes handed over; short of one, the error names it and the udev rule', async () => {
  const pci = findDevice('edu');
  const device = cdevPath(pci)!;
  const open = `const dev = await openDevice('${pci.bdf}', { backend: 'iommufd' });
    const buffer = await dev.dma.alloc(4096);
    console.log(JSON.stringify([dev.dma.backend, dev.region('bar0').read32(0), buffer.u32[0]]));
    await dev.close();`;
  const refused = (path: string) => ({
    code: 'EACCES',
    path,
    hint: expect.stringMatching(`${path} is not accessible for uid ${NOBODY}.*SUBSYSTEM==`),
  });
  const attempt = async () => JSON.parse(await asNobody(1024, open));
  try {
    expect(await attempt()).toMatchObject(refused(device));
    chownSync(device, NOBODY, NOBODY);
    expect(await attempt()).toMatchObject(refused(IOMMUFD_PATH));
    chownSync(IOMMUFD_PATH, NOBODY, NOBODY);
    expect(await attempt()).toEqual(['iommufd', 0x010000ed, 0]);
  } finally {
    for (const path of [device, IOMMUFD_PATH]) chownSync(path, 0, 0);
  }
});

test("what the user's other processes have pinned counts: the kernel refuses, and that is explained", async () => {
  const paths = (kind: 'edu' | 'nvme') => [IOMMUFD_PATH, cdevPath(findDevice(kind))!];
  const fds = [...paths('edu'), ...paths('nvme')].map((path) => openSync(path, 'r+'));
  const enter = (kind: 'edu' | 'nvme') =>
    `const dma = openAddressSpace({ backend: 'iommufd', fd: 3 });
     await openDevice('${findDevice(kind).bdf}', { addressSpace: dma, fds: { device: 4 } });`;
  const holder = nobody(
    64,
    `${enter('edu')} await dma.alloc(32768); console.log('held'); setInterval(() => {}, 1e6);`,
    fds.slice(0, 2),
  );
  try {
    expect(String((await once(holder.stdout!, 'data'))[0])).toBe('held\n');
    const output = await asNobody(
      64,
      `${enter('nvme')}
       await dma.alloc(49152).catch(({ code, ioctl, message }) =>
         console.log(JSON.stringify({ code, ioctl, message })));
       await dma.alloc(16384);
       console.log('"16384 more"');
       await dma.close();`,
      fds.slice(2),
    );
    const [refusal, more] = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    // From the kernel: the process itself is far from the limit.
    expect(refusal).toMatchObject({
      code: 'ENOMEM',
      ioctl: 'IOMMU_IOAS_MAP',
      message: expect.stringContaining('no memory'),
    });
    expect(more).toBe('16384 more');
  } finally {
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    for (const fd of fds) closeSync(fd);
  }
});
