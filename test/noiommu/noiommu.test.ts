/** Devices without an IOMMU in front, in a VM whose IOMMU is off. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { openAddressSpace, openDevice } from 'vfio';
import { deviceReads, deviceWrites } from '../vm/edu-dma';
import { bound, findDevice } from '../vm/lab-devices';

const NOBODY = 65534;
const PAGE = 4096;
const MiB = 1 << 20;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

bound('edu');

const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});

const open = () => openDevice(findDevice('edu').bdf, { unsafe: 'noiommu' });

test('this VM has no IOMMU', () => {
  expect(readFileSync('/proc/cmdline', 'utf8')).toContain('intel_iommu=off');
});

test('it is not done unasked; the error names the option', async () => {
  const attempt = openDevice(findDevice('edu').bdf, { backend: 'group' });
  await expect(attempt).rejects.toThrow(
    expect.objectContaining({ hint: expect.stringContaining("unsafe: 'noiommu'") }),
  );
  expect(() => openAddressSpace({ iommu: 'noiommu' })).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
});

test('a page has its physical address, and the device reads and writes there', async () => {
  const edu = await open();
  expect(edu.dma.backend).toBe('noiommu');
  edu.enableBusMaster();
  const source = await edu.dma.alloc(PAGE);
  const target = await edu.dma.alloc(PAGE);
  source.u32.fill(0x1357_9bdf);
  await deviceReads(edu, source.iova);
  await deviceWrites(edu, target.iova);
  expect(Buffer.compare(source.u8, target.u8)).toBe(0);
  await edu.close();
  expect(source.closed).toBe(true);
});

test('more than a page takes a huge page, and is contiguous there', async () => {
  writeFileSync('/proc/sys/vm/nr_hugepages', '4');
  const edu = await open();
  edu.enableBusMaster();
  const buffer = await edu.dma.alloc(2 * MiB, { hugePages: 'require' });
  expect(buffer.iova % BigInt(2 * MiB)).toBe(0n);
  buffer.u32.fill(0xabcd);
  await deviceReads(edu, buffer.iova + BigInt(MiB));
  buffer.u32.fill(0);
  await deviceWrites(edu, buffer.iova + BigInt(2 * MiB - PAGE));
  expect(buffer.u32.at(-1)).toBe(0xabcd);
  expect(buffer.u32[0]).toBe(0);
  await expect(edu.dma.alloc(64 * MiB)).rejects.toThrow(
    expect.objectContaining({
      code: 'ERR_VFIO_UNSUPPORTED',
      hint: expect.stringContaining('huge page'),
    }),
  );
  await edu.close();
});

test('an address cannot be chosen, nor lie above what the device reaches', async () => {
  const edu = await open();
  await expect(edu.dma.alloc(PAGE, { maxIova: 0xfffn })).rejects.toThrow(
    code('ERR_VFIO_IOVA_OUTSIDE'),
  );
  await expect(edu.dma.alloc(PAGE, { iova: 0x1000n })).rejects.toThrow(
    code('ERR_VFIO_UNSUPPORTED'),
  );
  await edu.close();
});

test('memory that cannot be locked has no address for devices: refused, none is made up', async () => {
  const edu = await open();
  const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  for (const refused of [
    edu.dma.map(new Uint8Array(buffer)),
    edu.dma.map(new Uint8Array(buffer), { iova: 0x10_0000n }),
    edu.dma.mapRegion(edu.region('bar0'), { size: PAGE }),
  ]) {
    await expect(refused).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  }
  expect(edu.dma.usage().mappings).toBe(0);
  await expect(edu.dma.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  await edu.close();
});

test('a page of a file that is mapped twice has one address', async () => {
  const path = '/dev/shm/noiommu-page';
  writeFileSync(path, Buffer.alloc(2 * PAGE));
  const fd = openSync(path, 'r+');
  const edu = await open();
  edu.enableBusMaster();
  try {
    const [one, other] = await Promise.all([0, 0].map((at) => edu.dma.mapFile(fd, at, PAGE)));
    const next = await edu.dma.mapFile(fd, PAGE, PAGE);
    expect(other!.iova).toBe(one!.iova);
    expect(next.iova).not.toBe(one!.iova);
    next.u32.fill(0x2468_ace0);
    await deviceReads(edu, next.iova);
    await one!.close();
    await deviceWrites(edu, other!.iova);
    expect(other!.u32.at(-1)).toBe(0x2468_ace0);
    await (await edu.dma.mapFile(fd, 0, PAGE)).close();
  } finally {
    await edu.close();
    closeSync(fd);
    unlinkSync(path);
  }
});

test('it is for root alone, whoever owns the node', async () => {
  const { bdf, iommuGroup } = findDevice('edu');
  const library = join(__dirname, '../../dist/index.js');
  const program = `
    const { openDevice } = require(${JSON.stringify(library)});
    process.setgroups([]); process.setgid(${NOBODY}); process.setuid(${NOBODY});
    openDevice('${bdf}', { unsafe: 'noiommu' }).catch(({ code, path, hint }) =>
      console.log(JSON.stringify({ code, path, hint })));
  `;
  const attempt = () => JSON.parse(execFileSync(process.execPath, ['-e', program]).toString());
  const path = `/dev/vfio/noiommu-${iommuGroup}`;
  chmodSync('/dev/vfio/vfio', 0o666);
  const hint = expect.stringContaining('takes root (CAP_SYS_RAWIO)');
  expect(attempt()).toMatchObject({ code: 'EACCES', path, hint });
  chownSync(path, NOBODY, NOBODY);
  try {
    expect(attempt()).toMatchObject({ code: 'EPERM', path, hint });
  } finally {
    chownSync(path, 0, 0);
  }
});

test('a warning is given once', () => {
  expect(warn.mock.calls).toEqual([
    [expect.stringContaining('reach all memory'), { type: 'VfioWarning', code: 'VFIO_NOIOMMU' }],
  ]);
});
