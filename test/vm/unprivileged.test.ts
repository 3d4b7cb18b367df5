/** A process without rights, which was handed descriptors or nodes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, closeSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { cdevPath } from '../../src/device/cdev';
import { IOMMUFD_PATH } from '../../src/dma/container';
import { bound, findDevice } from './lab-devices';

const NOBODY = 65534;
const library = join(__dirname, '../../dist/index.js');

bound('edu', 'nvme');

/** A process that runs `body` as nobody, with `limit` KiB of lockable memory. */
function nobody(limit: number, body: string, fds: number[] = []) {
  // The library is loaded before the rights are gone: nobody may not see the package's directory.
  const program = `
    const { openAddressSpace, openDevice } = require(${JSON.stringify(library)});
    process.setgroups([]); process.setgid(${NOBODY}); process.setuid(${NOBODY});
    (async () => { ${body} })().catch((error) => {
      const { code, hint, message, path } = error;
      console.log(JSON.stringify({ code, hint, message, path }));
    });
  `;
  return spawn(
    '/bin/sh',
    ['-c', `ulimit -l ${limit}; exec "$0" "$@"`, process.execPath, '-e', program],
    { stdio: ['ignore', 'pipe', 'inherit', ...fds] },
  );
}

/** What it logs. */
async function asNobody(limit: number, body: string, fds: number[] = []): Promise<string> {
  let output = '';
  for await (const text of nobody(limit, body, fds).stdout!) output += text;
  return output;
}

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

const hasIommufd = existsSync(IOMMUFD_PATH);
if (!hasIommufd) console.info('no /dev/iommu in this kernel: its descriptors are not handed over');

(hasIommufd ? describe : describe.skip)('iommufd', () => {
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
});
