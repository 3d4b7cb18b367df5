/** What every kind of address space does with mappings on the real kernel. */
import type { AddressSpace, DmaBuffer } from 'vfio';
import type { DmaBackend } from '../../src/dma/backend';
import type { Mode } from '../vm/dma-modes';
import { code, DmaFixture, MiB, PAGE, provideHugePages } from './dma-fixture';

export function dmaContract(mode: Mode): void {
  describe(`${mode.name}: mappings`, () => {
    let fixture: DmaFixture;
    let space: AddressSpace;
    let kernel: DmaBackend;

    beforeAll(provideHugePages);

    beforeEach(async () => {
      fixture = await DmaFixture.open(mode);
      ({ space, kernel } = fixture);
    });

    afterEach(() => fixture.close());

    test.each([
      ['4 KiB', PAGE, undefined],
      ['2 MiB', 2 * MiB, 2097152],
    ] as const)('memory in pages of %s maps, and all of it is unmapped', async (_, size, huge) => {
      const vaddr = fixture.memory(size, huge);
      const iova = 4n * 1024n * BigInt(MiB);
      await kernel.map(vaddr, iova, BigInt(size), 'read-write');
      expect(await kernel.unmap(iova, BigInt(size))).toBe(BigInt(size));
      expect(await kernel.unmap(iova, BigInt(size))).toBe(0n);
    });

    test('the last page of the last range maps; what is behind it does not', async () => {
      const { end } = space.iovaRanges!.at(-1)!;
      const vaddr = fixture.memory(2 * PAGE);
      await kernel.map(vaddr, end - 4095n, 4096n, 'read-write');
      await expect(kernel.map(vaddr, end + 1n, 4096n, 'read-write')).rejects.toThrow(
        code('EINVAL'),
      );
      expect(await kernel.unmap(end - 4095n, 4096n)).toBe(4096n);
      const top = (1n << 64n) - 4096n;
      await expect(kernel.map(vaddr, top, 8192n, 'read-write')).rejects.toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^(EINVAL|EOVERFLOW)$/) }),
      );
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
        says('ERR_VFIO_UNALIGNED', 'no multiples'),
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
      const vaddr = fixture.memory(count * PAGE);
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
      const vaddr = fixture.memory(2 * PAGE);
      await kernel.map(vaddr, 0x10_0000n, 4096n, 'read-write');
      await kernel.map(vaddr, 0x20_0000n, 8192n, 'read-write');
      expect(await kernel.unmapAll()).toBe(12288n);
    });

    test('an address of this process that is nothing is EFAULT', async () => {
      await expect(kernel.map(1n << 46n, 0x10_0000n, 4096n, 'read-write')).rejects.toThrow(
        code('EFAULT'),
      );
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

    test('pages come and go in any order, each where the last one was', async () => {
      const live: DmaBuffer[] = [];
      for (let i = 0; i < 150; i++) {
        const [leaving] = live.length === 16 ? live.splice((i * 5) % 16, 1) : [];
        await leaving?.close();
        const buffer = await space.alloc(PAGE);
        if (leaving) expect(buffer.iova).toBe(leaving.iova);
        expect(buffer.u32[0]).toBe(0);
        buffer.u32[0] = i;
        live.push(buffer);
      }
      expect(new Set(live.map(({ iova }) => iova)).size).toBe(16);
      expect(space.usage().mappings).toBe(16);
      await Promise.all(live.map((buffer) => buffer.close()));
      if (mode.entries) expect(space.usage().mappingsLeft).toBe(mode.entries);
    });

    const { entries } = mode;
    if (entries === undefined) return;

    test(`room for ${entries} mappings, not for one more, and again for as many`, async () => {
      const vaddr = fixture.memory(PAGE);
      const at = (i: number) => 0x1_0000_0000n + BigInt(i) * 8192n;
      expect(space.usage().mappingsLeft).toBe(entries);
      for (let i = 0; i < entries; i++) await kernel.map(vaddr, at(i), 4096n, 'read-write');
      expect(space.usage().mappingsLeft).toBe(0);
      await expect(space.alloc(PAGE)).rejects.toThrow(
        expect.objectContaining({ code: 'ENOSPC', hint: expect.stringContaining('pool') }),
      );
      expect(await kernel.unmap(at(77), 4096n)).toBe(4096n);
      await (await space.alloc(PAGE)).close();
      expect(await kernel.unmapAll()).toBe(BigInt(entries - 1) * 4096n);
      expect(space.usage().mappingsLeft).toBe(entries);
    }, 300_000);
  });
}
