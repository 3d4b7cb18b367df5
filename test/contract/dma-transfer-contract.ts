/** What devices move through every kind of address space on the real kernel. */
import {
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  openSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { release } from 'node:os';
import { type AddressSpace, type Device, openDevice } from 'vfio';
import { Generator } from '../../examples/igb/generator';
import { BROADCAST } from '../../examples/igb/mac';
import { IgbPort } from '../../examples/igb/port';
import { UdpTemplate } from '../../examples/igb/udp-frame';
import type { Mode } from '../vm/dma-modes';
import { deviceHeld, deviceHolds, deviceReads, deviceWrites, eduMask } from '../vm/edu-dma';
import { findDevice, vfioResources } from '../vm/lab-devices';
import { fetchNothing, identify, modelNumber } from '../vm/nvme-dma';
import { assertHugePage, code, DmaFixture, GiB, MiB, PAGE, provideHugePages } from './dma-fixture';

/** Linux 6.12 makes every page that VT-d maps readable. */
const WRITE_ONLY = Number.parseInt(release(), 10) >= 7 || !existsSync('/sys/class/iommu/dmar0');

export function dmaTransferContract(mode: Mode): void {
  describe(`${mode.name}: transfers`, () => {
    let fixture: DmaFixture;
    let space: AddressSpace;
    let edu: Device;

    beforeAll(provideHugePages);

    beforeEach(async () => {
      fixture = await DmaFixture.open(mode);
      ({ space, edu } = fixture);
    });

    afterEach(() => fixture.close());

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
      expect(new Set(await deviceHeld(edu))).toEqual(new Set([0x1111]));

      writable.u32.fill(0x5ec2_e700);
      await deviceReads(edu, writable.iova);
      expect(new Set(await deviceHeld(edu))).toEqual(new Set([WRITE_ONLY ? 0 : 0x5ec2_e700]));

      await readable.close();
      await deviceHolds(edu, 0xbad1_bad1);
      await deviceWrites(edu, readable.iova);
      await deviceWrites(edu, target!.iova + 4096n * 1000n);
      expect([source!, target!, writable].map(({ u32 }) => u32[0])).toEqual([
        0x5a5a_1234, 0x5a5a_1234, 0x5ec2_e700,
      ]);
    });

    test('a device reaches nothing of a mapping that is suspended, and all of it again', async () => {
      const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
      const memory = new Uint32Array(buffer, 0, PAGE / 4);
      const mapping = await space.map(new Uint8Array(buffer, 0, PAGE), eduMask);
      await deviceHolds(edu, 0x5005_5005);
      for (let i = 0; i < 3; i++) {
        memory.fill(i);
        mapping.suspend();
        await deviceWrites(edu, mapping.iova);
        expect(memory.every((word) => word === i)).toBe(true);
        mapping.resume();
        await deviceWrites(edu, mapping.iova);
        expect(memory.every((word) => word === 0x5005_5005)).toBe(true);
      }
      mapping.suspend();
      await mapping.close();
      await expect(space.alloc(PAGE, { iova: mapping.iova })).resolves.toBeDefined();
    });

    test('devices at once, each by itself: edu, nvme and igb move data in one space', async () => {
      const [nvme, igb] = await Promise.all([
        openDevice(findDevice('nvme').bdf, { addressSpace: space }),
        IgbPort.open(findDevice('igb').bdf, { addressSpace: space, rxCount: 32, txCount: 32 }),
      ]);
      const [source, target] = await Promise.all([PAGE, PAGE].map((n) => space.alloc(n, eduMask)));
      const page = await space.alloc(PAGE);
      source!.u32.fill(0x600d_600d);
      const copies = async () => {
        await deviceReads(edu, source!.iova);
        await deviceWrites(edu, target!.iova);
      };
      await Promise.all([copies(), identify(nvme, space, page.iova), transmits(igb, 16)]);
      expect(target!.u32.every((word) => word === 0x600d_600d)).toBe(true);
      expect(modelNumber(page.u8)).toBe('QEMU NVMe Ctrl');
      await space.close();
      expect([edu, nvme, igb.device].map(({ closed }) => closed)).toEqual([true, true, true]);
    });

    test('a controller that fetches a command where nothing is mapped raises no interrupt', async () => {
      const nvme = await openDevice(findDevice('nvme').bdf, { addressSpace: space });
      const heard: unknown[] = [];
      nvme.on('error', () => {
        heard.push('error');
      });
      const msix = nvme.irq('msix');
      msix.on((event) => {
        heard.push(event);
      });
      await msix.enable();
      await fetchNothing(nvme, space.iovaRanges!.at(-1)!.end - 4095n);
      // What comes after it is the first.
      msix.trigger(0);
      while (heard.length === 0) await new Promise(setImmediate);
      expect(heard).toEqual([{ vector: 0, count: 1 }]);
      await nvme.close();
    });

    test('a page of 2 MiB, from end to end', async () => {
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
    });

    test('a page of 1 GiB, to its end; and without another one, ordinary pages or an error', async () => {
      assertHugePage(GiB);
      const option = { hugePageSize: GiB } as const;
      const huge = await space.alloc(GiB, { ...option, hugePages: 'require' });
      expect(huge).toMatchObject({ size: GiB, pageSize: GiB });
      const nvme = await openDevice(findDevice('nvme').bdf, { addressSpace: space });
      await identify(nvme, space, huge.iova + BigInt(GiB - PAGE));
      await nvme.close();
      expect(modelNumber(huge.u8.subarray(-PAGE))).toBe('QEMU NVMe Ctrl');

      const tried = await space.alloc(100, { ...option, hugePages: 'try' });
      expect(tried).toMatchObject({ size: PAGE, pageSize: PAGE });
      await expect(space.alloc(100, { ...option, hugePages: 'require' })).rejects.toThrow(
        expect.objectContaining({
          code: 'ENOMEM',
          hint: expect.stringContaining('nr_hugepages'),
        }),
      );
      expect(await space.kernelSpace.unmap(huge.iova, BigInt(GiB))).toBe(BigInt(GiB));
      // By something other than the space, which is then told that there is nothing left.
      await expect(huge.close()).rejects.toThrow(code('ENOENT'));
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

    test("another device's registers", async () => {
      const nvme = await openDevice(findDevice('nvme').bdf, { addressSpace: space });
      const bar = nvme.region('bar0');
      const byAddress = space.kernelSpace.map(bar.address, 0x10_0000n, 4096n, 'read-write');
      if (mode.bars === 'by address') {
        await byAddress;
        expect(await space.kernelSpace.unmap(0x10_0000n, 4096n)).toBe(4096n);
      } else {
        await expect(byAddress).rejects.toThrow(code('EFAULT'));
      }

      const mapped = space.mapRegion(bar, { ...eduMask, size: PAGE });
      if (mode.bars === 'not') {
        await expect(mapped).rejects.toThrow(code('EFAULT'));
      } else {
        const { iova } = await mapped;
        await deviceHolds(edu, 0);
        // CAP and VS (NVM Express base specification, 3.1.3) are read-only.
        await deviceReads(edu, iova, 16);
        const registers = [0, 4, 8, 12].map((offset) => bar.read32(offset));
        expect(registers[2]).toBeGreaterThan(0);
        expect([...(await deviceHeld(edu)).subarray(0, 5)]).toEqual([...registers, 0]);
        await (await mapped).close();
        await deviceReads(edu, iova, 16);
        expect([...(await deviceHeld(edu)).subarray(0, 4)]).toEqual([0, 0, 0, 0]);
      }
      await nvme.close();
    });

    test('buffers of a pool serve the device, and 1,000 cost one mapping', async () => {
      const { mappings } = space.usage();
      const pool = await space.pool({ size: 2048, count: 1000, ...eduMask });
      expect(space.usage().mappings).toBe(mappings + 1);
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

    test('opened, used and closed five times: no descriptor, no mapping of a device is left', async () => {
      await fixture.close();
      const before = vfioResources();
      for (let round = 1; round <= 5; round++) {
        fixture = await DmaFixture.open(mode);
        const buffer = await fixture.space.alloc(PAGE, eduMask);
        await deviceHolds(fixture.edu, round);
        await deviceWrites(fixture.edu, buffer.iova);
        expect(buffer.u32[1023]).toBe(round);
        await fixture.close();
        expect(vfioResources()).toEqual(before);
      }
    });
  });
}

/** As the descriptors come back, the port has fetched descriptors and frames, and written to the former. */
async function transmits({ mac, queues }: IgbPort, frames: number): Promise<void> {
  const { pool, tx } = queues[0]!;
  const template = new UdpTemplate(mac, BROADCAST, 60);
  new Generator(pool, tx, { template, flows: 1, vlan: 0 }).poll(frames);
  while (tx.pending > 0) await new Promise(setImmediate);
}
