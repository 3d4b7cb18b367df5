/** What every kind of address space does on the real kernel, with edu inside to try it. */
import {
  closeSync,
  constants,
  ftruncateSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { type AddressSpace, type Device, openDevice } from 'vfio';
import type { DmaBackend } from '../../src/dma/backend';
import { allocateMemory, type Memory } from '../../src/dma/memory';
import { native } from '../../src/native';
import { deviceHeld, deviceHolds, deviceReads, deviceWrites, eduMask } from '../vm/edu-dma';
import { identifiedModel } from '../vm/nvme-dma';

const PAGE = 4096;
const MiB = 1 << 20;

const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

const hugePages = (size: number, file: string) =>
  `/sys/kernel/mm/hugepages/hugepages-${size >> 10}kB/${file}`;

/** 1 GiB in one piece is to be had only as the kernel boots: npm test asks for it. */
function assertHugePage(size: number): void {
  if (Number(readFileSync(hugePages(size, 'free_hugepages'), 'utf8')) > 0) return;
  throw new Error(`no free huge page of ${size} bytes: boot with hugepagesz=1G hugepages=1`);
}

export interface Mode {
  readonly name: string;
  readonly open: () => AddressSpace;
  /** Whether pages inside of a larger mapping can be unmapped: type1 version 1 splits. */
  readonly splits?: true;
  /** What the kernel takes a BAR's address for. */
  readonly barByAddress: boolean;
}

export function dmaContract(
  { name, open, barByAddress }: Mode,
  bdf: (kind: 'edu' | 'nvme') => string,
): void {
  describe(`${name}: DMA contract`, () => {
    let space: AddressSpace;
    let kernel: DmaBackend;
    let edu: Device;
    const memories: Memory[] = [];

    const memory = (size: number, huge?: 2097152 | 1073741824): bigint => {
      const allocated = allocateMemory(size, huge ? 'require' : 'no', huge);
      memories.push(allocated);
      return native.rangeAddress(allocated.range) as bigint;
    };

    beforeAll(() => {
      writeFileSync(hugePages(2 * MiB, 'nr_hugepages'), '16');
    });

    beforeEach(async () => {
      space = open();
      edu = await openDevice(bdf('edu'), { addressSpace: space });
      kernel = space.kernelSpace;
      edu.enableBusMaster();
    });

    afterEach(async () => {
      await edu.close();
      await space.close();
      for (const { range } of memories.splice(0)) native.rangeRelease(range);
    });

    test.each([
      ['4 KiB', PAGE, undefined],
      ['2 MiB', 2 * MiB, 2097152],
      ['1 GiB', 1024 * MiB, 1073741824],
    ] as const)('memory in pages of %s maps, and all of it is unmapped', async (_, size, huge) => {
      if (huge) assertHugePage(huge);
      const vaddr = memory(size, huge);
      const iova = 4n * 1024n * BigInt(MiB);
      await kernel.map(vaddr, iova, BigInt(size), 'read-write');
      expect(await kernel.unmap(iova, BigInt(size))).toBe(BigInt(size));
      expect(await kernel.unmap(iova, BigInt(size))).toBe(0n);
    });

    test('the last page of the last range maps; what is behind it does not', async () => {
      const { end } = space.iovaRanges!.at(-1)!;
      const vaddr = memory(2 * PAGE);
      await kernel.map(vaddr, end - 4095n, 4096n, 'read-write');
      await expect(kernel.map(vaddr, end + 1n, 4096n, 'read-write')).rejects.toThrow();
      expect(await kernel.unmap(end - 4095n, 4096n)).toBe(4096n);
      const top = (1n << 64n) - 4096n;
      await expect(kernel.map(vaddr, top, 8192n, 'read-write')).rejects.toThrow();
      await expect(space.alloc(PAGE, { iova: end - 4095n })).resolves.toBeDefined();
    });

    test('a reserved window, an overlap, an odd address: refused, and the rule is named', async () => {
      const [first] = space.iovaRanges!;
      const says = (expected: string, text: string) =>
        expect.objectContaining({ code: expected, message: expect.stringContaining(text) });
      await expect(space.alloc(PAGE, { iova: first!.end + 1n })).rejects.toThrow(
        says('ERR_VFIO_IOVA_OUTSIDE', 'reserved window'),
      );
      await expect(space.alloc(PAGE, { iova: 1n << 60n })).rejects.toThrow(
        says('ERR_VFIO_IOVA_OUTSIDE', 'highest address'),
      );
      await expect(space.alloc(PAGE, { iova: 0x1234n })).rejects.toThrow(
        says('ERR_VFIO_IOVA_OUTSIDE', 'no multiples'),
      );
      const taken = await space.alloc(2 * PAGE, { iova: 0x10_0000n });
      await expect(space.alloc(PAGE, { iova: 0x10_1000n })).rejects.toThrow(
        says('ERR_VFIO_IOVA_TAKEN', '[0x100000, 0x101fff]'),
      );
      await taken.close();
      await expect(space.alloc(PAGE, { iova: 0x10_1000n })).resolves.toBeDefined();
    });

    test('page by page: mapped once, unmapped once, forwards, backwards and as a checkerboard', async () => {
      const count = 64;
      const vaddr = memory(count * PAGE);
      const at = (i: number) => 0x1000_0000n + BigInt(i * PAGE);
      const all = Array.from({ length: count }, (_, i) => i);
      const orders = [
        all,
        [...all].reverse(),
        [...all.filter((i) => i % 2 === 0), ...all.filter((i) => i % 2 === 1)],
      ];
      for (const order of orders) {
        for (const i of all) await kernel.map(vaddr + BigInt(i * PAGE), at(i), 4096n, 'read-write');
        await expect(kernel.map(vaddr, at(7), 4096n, 'read-write')).rejects.toThrow(code('EEXIST'));
        for (const i of order) expect(await kernel.unmap(at(i), 4096n)).toBe(4096n);
        for (const i of all) expect(await kernel.unmap(at(i), 4096n)).toBe(0n);
      }
    });

    test('unmapAll leaves nothing, and closes what was mapped', async () => {
      const buffers = await Promise.all([PAGE, 2 * PAGE].map((size) => space.alloc(size)));
      await space.unmapAll();
      expect(buffers.map(({ closed }) => closed)).toEqual([true, true]);
      expect(space.usage()).toMatchObject({ mappings: 0, bytes: 0 });
      const vaddr = memory(2 * PAGE);
      await kernel.map(vaddr, 0x10_0000n, 4096n, 'read-write');
      await kernel.map(vaddr, 0x20_0000n, 8192n, 'read-write');
      expect(await kernel.unmapAll()).toBe(12288n);
    });

    test('an address of this process that is nothing is EFAULT', async () => {
      await expect(kernel.map(1n << 46n, 0x10_0000n, 4096n, 'read-write')).rejects.toThrow(
        code('EFAULT'),
      );
    });

    test('devices read and write what is mapped for that, and nothing else', async () => {
      const [source, target] = await Promise.all([PAGE, PAGE].map((n) => space.alloc(n, eduMask)));
      const readable = await space.alloc(PAGE, { ...eduMask, access: 'read' });
      const writable = await space.alloc(PAGE, { ...eduMask, access: 'write' });
      const words = () =>
        [source!, target!, readable, writable].map(({ u32 }) => {
          expect(u32.every((word) => word === u32[0])).toBe(true);
          return u32[0];
        });
      source!.u32.fill(0x5a5a_1234);
      readable.u32.fill(0x1111);
      await deviceReads(edu, source!.iova);
      await deviceWrites(edu, target!.iova);
      expect(words()).toEqual([0x5a5a_1234, 0x5a5a_1234, 0x1111, 0]);

      await deviceHolds(edu, 0xbad0_bad0);
      await deviceWrites(edu, readable.iova);
      expect(words()).toEqual([0x5a5a_1234, 0x5a5a_1234, 0x1111, 0]);
      await deviceWrites(edu, writable.iova);
      expect(words()).toEqual([0x5a5a_1234, 0x5a5a_1234, 0x1111, 0xbad0_bad0]);
      await deviceReads(edu, readable.iova);
      expect((await deviceHeld(edu)).every((word) => word === 0x1111)).toBe(true);

      await readable.close();
      await deviceHolds(edu, 0xbad1_bad1);
      await deviceWrites(edu, readable.iova);
      await deviceWrites(edu, target!.iova + 4096n * 1000n);
      expect([source!, target!, writable].map(({ u32 }) => u32[0])).toEqual([
        0x5a5a_1234, 0x5a5a_1234, 0xbad0_bad0,
      ]);
    });

    test('nvme fetches a command, writes data and completes', async () => {
      const nvme = await openDevice(bdf('nvme'), { addressSpace: space });
      expect(await identifiedModel(nvme, space)).toBe('QEMU NVMe Ctrl');
      await nvme.close();
    });

    test('huge pages: taken if there are, done without if asked to try', async () => {
      const huge = await space.alloc(2 * MiB, { ...eduMask, hugePages: 'require' });
      expect(huge).toMatchObject({ size: 2 * MiB, pageSize: 2 * MiB });
      expect(huge.iova % BigInt(2 * MiB)).toBe(0n);
      const last = huge.u32.subarray(-PAGE / 4);
      last.fill(7);
      await deviceReads(edu, huge.iova + BigInt(2 * MiB - PAGE));
      expect((await deviceHeld(edu)).every((word) => word === 7)).toBe(true);
      await deviceHolds(edu, 8);
      await deviceWrites(edu, huge.iova + BigInt(2 * MiB - PAGE));
      expect(last.every((word) => word === 8)).toBe(true);
      expect(huge.u32[0]).toBe(0);
      const tried = await space.alloc(PAGE, { hugePages: 'try' });
      expect(tried.size % tried.pageSize).toBe(0);
      const none = space.alloc(2048 * MiB, { hugePages: 'require', hugePageSize: 1073741824 });
      await expect(none).rejects.toThrow(
        expect.objectContaining({
          code: 'ENOMEM',
          hint: expect.stringContaining('nr_hugepages'),
        }),
      );
    });

    test('memory that the caller owns', async () => {
      const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
      const words = new Uint32Array(buffer);
      const mapping = await space.map(new Uint8Array(buffer), eduMask);
      words.fill(0xcafe);
      await deviceReads(edu, mapping.iova + 4096n);
      words.fill(0, 0, 1024);
      await deviceWrites(edu, mapping.iova);
      expect(words[0]).toBe(0xcafe);
      await mapping.close();
      for (const bad of [
        new Uint8Array(4096),
        new Uint8Array(new SharedArrayBuffer(4096)).subarray(1),
        Buffer.alloc(0),
      ]) {
        await expect(space.map(bad as Uint8Array<SharedArrayBuffer>)).rejects.toThrow(
          code('ERR_VFIO_INVALID_ARGUMENT'),
        );
      }
    });

    test('a file, seen by process, file and device alike', async () => {
      const path = `/dev/shm/vfio-${process.pid}`;
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT);
      try {
        ftruncateSync(fd, 4 * PAGE);
        const buffer = await space.mapFile(fd, PAGE, 2 * PAGE, eduMask);
        writeSync(fd, Buffer.from('from the file'), 0, 13, PAGE);
        expect(Buffer.from(buffer.u8).subarray(0, 13).toString()).toBe('from the file');
        await deviceReads(edu, buffer.iova);
        await deviceWrites(edu, buffer.iova + 4096n);
        expect(
          Buffer.from(buffer.u8)
            .subarray(PAGE, PAGE + 13)
            .toString(),
        ).toBe('from the file');
        await expect(space.mapFile(fd, 0, 8 * PAGE)).rejects.toThrow(code('ENXIO'));
        await expect(space.mapFile(fd, 1, PAGE)).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
        await buffer.close();
      } finally {
        closeSync(fd);
        unlinkSync(path);
      }
    });

    test("a BAR by its address is the container's way, not iommufd's", async () => {
      const address = edu.region('bar0').address;
      const mapped = kernel.map(address, 0x10_0000n, 4096n, 'read-write');
      if (barByAddress) await mapped;
      else await expect(mapped).rejects.toThrow(code('EFAULT'));
      if (barByAddress) expect(await kernel.unmap(0x10_0000n, 4096n)).toBe(4096n);
    });

    test('a large mapping tells how far it is, and is abandoned between pieces', async () => {
      const size = 512 * MiB;
      const seen: number[] = [];
      const whole = await space.alloc(size, { onProgress: (done) => seen.push(done) });
      expect(seen).toEqual([size / 2, size]);
      const before = space.usage();
      await whole.close();

      const controller = new AbortController();
      const aborted = space.alloc(size, {
        signal: controller.signal,
        onProgress: () => controller.abort(new Error('enough')),
      });
      await expect(aborted).rejects.toThrow('enough');
      expect(space.usage()).toMatchObject({ mappings: before.mappings - 1 });
      const again = await space.alloc(PAGE, { iova: whole.iova });
      await again.close();
    });

    test('a pool serves the device', async () => {
      const pool = await space.pool({ size: 2048, count: 1000, ...eduMask });
      const buffer = pool.take()!;
      buffer.u32.fill(0xbeef);
      await deviceReads(edu, buffer.iova, 2048);
      const other = pool.take()!;
      await deviceWrites(edu, other.iova, 2048);
      expect(other.u32[100]).toBe(0xbeef);
      await pool.close();
    });

    test('buffers of an arena serve the device, and cost one mapping', async () => {
      const { mappings } = space.usage();
      const arena = await space.arena({ size: 4 * PAGE, ...eduMask });
      const source = arena.alloc(256);
      const target = arena.alloc(300, { alignment: 1024 });
      expect(space.usage().mappings).toBe(mappings + 1);
      source.u32.fill(0xfeed);
      await deviceReads(edu, source.iova, 256);
      await deviceWrites(edu, target.iova, 256);
      expect([target.u32[63], target.u32[64]]).toEqual([0xfeed, 0]);
      await arena.close();
      expect(space.usage().mappings).toBe(mappings);
    });
  });
}
