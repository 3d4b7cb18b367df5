import fc from 'fast-check';
import { type ArenaBuffer, createArena, type DmaArena } from '../../src/dma/arena';
import type { IovaConstraints } from '../../src/dma/iova-allocator';
import type { SlabMemory } from '../../src/dma/piece';

const PAGE = 4096;
const BASE = 0xffff_f000n;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

/** One piece of memory on both sides of 4 GiB; detached at close as the real one is. */
function space() {
  const asked: Array<{ size: number; options: IovaConstraints | undefined }> = [];
  const alloc = async (size: number, options?: IovaConstraints): Promise<SlabMemory> => {
    asked.push({ size, options });
    const memory = new ArrayBuffer(Math.ceil(size / PAGE) * PAGE);
    const close = async () => void structuredClone(memory, { transfer: [memory] });
    return { iova: BASE, u8: new Uint8Array(memory).fill(0xee), close };
  };
  return { asked, alloc };
}

const arenaOf = (size: number, alignment?: number): Promise<DmaArena> =>
  createArena(space(), alignment ? { size, alignment } : { size });

test('buffers have addresses, halves and views of their own, and are zeroed', async () => {
  const arena = await arenaOf(2 * PAGE);
  const first = arena.alloc(PAGE);
  const second = arena.alloc(15);
  expect(first).toMatchObject({ iova: BASE, iovaLo: 0xffff_f000, iovaHi: 0, size: PAGE });
  expect(second).toMatchObject({ iova: 0x1_0000_0000n, iovaLo: 0, iovaHi: 1, size: 15 });
  expect([second.u8, second.u32, second.u64].map((view) => view.length)).toEqual([15, 3, 1]);
  expect([...first.u8, ...second.u8].some((byte) => byte !== 0)).toBe(false);
  second.u32[0] = 0x0403_0201;
  expect([...second.u8.subarray(0, 5)]).toEqual([1, 2, 3, 4, 0]);
  expect(arena.available).toBe(PAGE - 64);
});

test('one mapping, with what options alloc has, on a page or as it is asked', async () => {
  const from = space();
  const options = { size: 100, maxIova: 0xffff_ffffn, hugePages: 'try' };
  await createArena(from, options);
  await createArena(from, { size: 100, alignment: 2 * PAGE });
  expect(from.asked).toEqual([
    { size: 100, options: { maxIova: 0xffff_ffffn, hugePages: 'try', alignment: PAGE } },
    { size: 100, options: { alignment: 2 * PAGE } },
  ]);
});

test('what is given back is zeroed when it is given out again', async () => {
  const arena = await arenaOf(PAGE);
  const buffer = arena.alloc(PAGE);
  buffer.u8.fill(1);
  arena.free(buffer);
  const again = arena.alloc(PAGE);
  expect(again.iova).toBe(buffer.iova);
  expect(again.u8.some((byte) => byte !== 0)).toBe(false);
});

test('a buffer is given back once, and to its own arena', async () => {
  const [arena, other] = [await arenaOf(PAGE), await arenaOf(PAGE)];
  const buffer = arena.alloc(64);
  expect(() => other.free(buffer)).toThrow(code('ERR_VFIO_NOT_TAKEN'));
  arena.free(buffer);
  expect(() => arena.free(buffer)).toThrow(code('ERR_VFIO_NOT_TAKEN'));
  expect(arena.available).toBe(PAGE);
});

test('a full arena says what is left, and in which pieces', async () => {
  const arena = await arenaOf(PAGE);
  const [low] = [arena.alloc(1024), arena.alloc(1024), arena.alloc(1024)];
  arena.free(low!);
  expect(() => arena.alloc(1025)).toThrow(/2048 in all, 1024 in one piece/);
  expect(() => arena.alloc(1025)).toThrow(code('ERR_VFIO_IOVA_SPACE'));
  expect(arena.alloc(1024).iova).toBe(BASE);
});

test.each([0, -1, 1.5, Number.NaN, 2 ** 53])('%p is no size', async (size) => {
  await expect(arenaOf(size)).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  const arena = await arenaOf(PAGE);
  expect(() => arena.alloc(size)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
});

test.each([0, 3, -64, 2 * PAGE])('%p is no alignment in an arena on a page', async (alignment) => {
  const arena = await arenaOf(PAGE);
  expect(() => arena.alloc(64, { alignment })).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
});

test('closed: views are gone, and nothing is given or taken', async () => {
  const arena = await arenaOf(PAGE);
  const buffer = arena.alloc(64);
  await Promise.all([arena.close(), arena.close()]);
  expect([arena.closed, buffer.u8.length, buffer.u32.length]).toEqual([true, 0, 0]);
  expect(() => arena.alloc(64)).toThrow(code('ERR_VFIO_CLOSED'));
  expect(() => arena.free(buffer)).toThrow(code('ERR_VFIO_CLOSED'));
});

test('closed from below, with the address space', async () => {
  const memory = await space().alloc(PAGE);
  const arena = await createArena({ alloc: async () => memory }, { size: PAGE });
  await memory.close();
  expect(() => arena.alloc(64)).toThrow(code('ERR_VFIO_CLOSED'));
});

test('buffers never overlap or leave the memory, and all of it comes back', async () => {
  const operation = fc.record({
    free: fc.boolean(),
    pick: fc.nat(),
    size: fc.integer({ min: 1, max: 3 * PAGE }),
    alignment: fc.constantFrom(1, 64, 128, 1024, PAGE),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 60 }), async (operations) => {
      const arena = await arenaOf(8 * PAGE);
      const out: ArenaBuffer[] = [];
      for (const { free, pick, size, alignment } of operations) {
        if (free && out.length > 0) {
          arena.free(out.splice(pick % out.length, 1)[0]!);
          continue;
        }
        let buffer: ArenaBuffer;
        try {
          buffer = arena.alloc(size, { alignment });
        } catch (error) {
          expect(error).toEqual(code('ERR_VFIO_IOVA_SPACE'));
          continue;
        }
        const end = buffer.iova + BigInt(size);
        expect(buffer.iova % BigInt(alignment)).toBe(0n);
        expect(buffer.iova >= BASE && end <= BASE + BigInt(8 * PAGE)).toBe(true);
        expect(BigInt(buffer.u8.byteOffset)).toBe(buffer.iova - BASE);
        for (const other of out) {
          expect(end <= other.iova || other.iova + BigInt(other.size) <= buffer.iova).toBe(true);
        }
        out.push(buffer);
      }
      for (const buffer of out) arena.free(buffer);
      expect(arena.available).toBe(8 * PAGE);
    }),
  );
});
