import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { transformFileSync } from '@swc/core';
import fc from 'fast-check';
import type { IovaConstraints } from '../../src/dma/iova-allocator';
import type { SlabMemory } from '../../src/dma/piece';
import { createPool, type DmaPool, POOL_OUT, type PoolBuffer } from '../../src/dma/pool';

const PAGE = 4096;
const MIB = 1 << 20;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

interface FakeOptions extends IovaConstraints {
  readonly hugepages?: boolean;
}

/** Hands out memory at ascending addresses above 4 GiB; its buffers are detached as real ones are. */
class FakeSpace {
  readonly calls: Array<{ size: number; options: FakeOptions | undefined }> = [];
  readonly open = new Set<SlabMemory>();
  closes = 0;
  /** Fail the nth call. */
  failAt = Number.POSITIVE_INFINITY;
  #next = 0x1_0000_0000n;

  async alloc(size: number, options?: FakeOptions): Promise<SlabMemory> {
    this.calls.push({ size, options });
    if (this.calls.length === this.failAt) throw new Error('no more');
    const alignment = BigInt(options?.alignment ?? PAGE);
    const iova = ((this.#next + alignment - 1n) / alignment) * alignment;
    this.#next = iova + BigInt(Math.ceil(size / PAGE) * PAGE);
    const memory = new ArrayBuffer(size);
    const slab: SlabMemory = {
      iova,
      u8: new Uint8Array(memory),
      close: async () => {
        this.closes++;
        this.open.delete(slab);
        await null; // The pool may not rely on when the views go.
        if (memory.byteLength > 0) structuredClone(memory, { transfer: [memory] });
      },
    };
    this.open.add(slab);
    return slab;
  }
}

describe('layout', () => {
  test('buffers have their halves of the address, views of the right size, and zeroed memory of their own', async () => {
    const space = new FakeSpace();
    const pool = await createPool(space, { size: 2048, count: 5 });
    expect(pool).toMatchObject({ size: 2048, count: 5, available: 5, closed: false });
    expect(space.calls).toEqual([{ size: 5 * 2048, options: { alignment: PAGE } }]);
    pool.buffers.forEach((buffer, i) => {
      expect(buffer.index).toBe(i);
      expect(buffer.iova).toBe(0x1_0000_0000n + BigInt(i * 2048));
      expect([buffer.iovaLo, buffer.iovaHi]).toEqual([i * 2048, 1]);
      expect([pool.iovaLo[i], pool.iovaHi[i]]).toEqual([i * 2048, 1]);
      expect([buffer.u8, buffer.u32, buffer.u64].map((v) => v.length)).toEqual([2048, 512, 256]);
      expect(buffer.u8.some((byte) => byte !== 0)).toBe(false);
      buffer.u8.fill(i + 1);
    });
    const words = pool.buffers.map(({ u32 }) => [u32[0], u32[511]]);
    expect(words).toEqual([1, 2, 3, 4, 5].map((n) => [n * 0x0101_0101, n * 0x0101_0101]));
    expect(pool.buffers[2]!.u64[255]).toBe(0x0303_0303_0303_0303n);
  });

  test('words that do not fit wholly are left out', async () => {
    const pool = await createPool(new FakeSpace(), { size: 15, count: 2, alignment: 16 });
    const { u8, u32, u64 } = pool.buffers[1]!;
    expect([u8.length, u32.length, u64.length]).toEqual([15, 3, 1]);
    expect(u64.byteOffset).toBe(16);
  });

  test('what is not of the pool is passed on to alloc', async () => {
    const space = new FakeSpace();
    const constraints = { maxIova: 0xffff_ffffn, alignment: 2 * MIB };
    await createPool(space, { size: 2 * MIB, count: 2, ...constraints, hugepages: true });
    expect(space.calls[0]).toEqual({ size: 4 * MIB, options: { ...constraints, hugepages: true } });
  });

  test('up to 64 MiB are one mapping, more are several', async () => {
    const one = new FakeSpace();
    await createPool(one, { size: MIB, count: 64 });
    expect(one.calls.map(({ size }) => size)).toEqual([64 * MIB]);
    const three = new FakeSpace();
    const pool = await createPool(three, { size: MIB, count: 130 });
    expect(three.calls.map(({ size }) => size)).toEqual([64 * MIB, 64 * MIB, 2 * MIB]);
    expect(new Set(pool.buffers.map(({ iova }) => iova)).size).toBe(130);
    expect(pool.buffers[129]!.u8.byteOffset).toBe(MIB);
    const large = new FakeSpace();
    await createPool(large, { size: 65 * MIB, count: 2 });
    expect(large.calls.map(({ size }) => size)).toEqual([65 * MIB, 65 * MIB]);
  });

  test('buffers are aligned, apart, within their memory, and on one page if they fit', async () => {
    const sizes = fc.oneof(fc.integer({ min: 1, max: PAGE }), fc.integer({ min: 1, max: 40_000 }));
    const orders = fc.integer({ min: 3, max: 14 });
    const property = fc.asyncProperty(
      sizes,
      orders,
      fc.integer({ min: 1, max: 60 }),
      async (size, order, count) => {
        const alignment = 2 ** order;
        const pool = await createPool(new FakeSpace(), { size, count, alignment });
        let end = 0n;
        for (const { iova, u8 } of pool.buffers) {
          const last = iova + BigInt(size) - 1n;
          assert.equal(iova % BigInt(alignment), 0n);
          assert(iova >= end);
          if (size <= PAGE) assert.equal(iova / 4096n, last / 4096n);
          assert.equal(u8.length, size);
          assert.equal(BigInt(u8.byteOffset), iova - pool.buffers[0]!.iova);
          end = last + 1n;
        }
      },
    );
    await fc.assert(property, { numRuns: 200 });
  });

  test.each([
    [{ size: 0, count: 1 }],
    [{ size: 1.5, count: 1 }],
    [{ size: 64, count: 0 }],
    [{ size: 64, count: Number.NaN }],
    [{ size: 64, count: 1, alignment: 4 }],
    [{ size: 64, count: 1, alignment: 96 }],
    [{ size: 64, count: 1, alignment: Number.POSITIVE_INFINITY }],
  ])('refused before anything is allocated: %p', async (options) => {
    const space = new FakeSpace();
    await expect(createPool(space, options)).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    expect(space.calls).toEqual([]);
  });

  test('if a mapping fails, those before it are closed', async () => {
    const space = new FakeSpace();
    space.failAt = 3;
    await expect(createPool(space, { size: MIB, count: 130 })).rejects.toThrow('no more');
    expect([space.open.size, space.closes]).toEqual([0, 2]);
  });
});

describe('take and give', () => {
  let pool: DmaPool;
  beforeEach(async () => {
    pool = await createPool(new FakeSpace(), { size: 64, count: 3 });
  });

  test('the last given back is the first taken; undefined and -1 when all are out', () => {
    const [a, b, c] = [pool.take()!, pool.take()!, pool.take()!];
    expect([a.index, b.index, c.index, pool.available]).toEqual([0, 1, 2, 0]);
    expect([pool.take(), pool.takeIndex()]).toEqual([undefined, -1]);
    pool.give(a);
    pool.give(c);
    expect(pool.available).toBe(2);
    expect([pool.take(), pool.take(), pool.take()]).toEqual([c, a, undefined]);
  });

  test('by index and by buffer are the same', () => {
    const index = pool.takeIndex();
    pool.give(pool.buffers[index]!);
    const buffer = pool.take()!;
    expect(buffer.index).toBe(index);
    pool.giveIndex(buffer.index);
    expect(pool.available).toBe(3);
  });

  test('giving back twice is refused and changes nothing', () => {
    const buffer = pool.take()!;
    pool.give(buffer);
    expect(() => pool.give(buffer)).toThrow(code('ERR_VFIO_NOT_TAKEN'));
    expect(() => pool.giveIndex(2)).toThrow(code('ERR_VFIO_NOT_TAKEN'));
    expect(pool.available).toBe(3);
    expect(new Set([pool.take(), pool.take(), pool.take()]).size).toBe(3);
  });

  test('a buffer of another pool, or none at all, is refused', async () => {
    const other = await createPool(new FakeSpace(), { size: 64, count: 4 });
    pool.take();
    const foreign = code('ERR_VFIO_FOREIGN_BUFFER');
    expect(() => pool.give(other.take()!)).toThrow(foreign);
    expect(() => pool.give(other.buffers[3]!)).toThrow(foreign);
    expect(() => pool.give({ ...pool.buffers[0]! })).toThrow(foreign);
    expect(() => pool.give({} as PoolBuffer)).toThrow(foreign);
    expect(pool.available).toBe(2);
  });

  test.each([-1, 3, 0.5, Number.NaN])('index %p is refused', (index) => {
    expect(() => pool.giveIndex(index)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
    expect(pool.available).toBe(3);
  });

  test('in any order, no buffer is out twice and none is lost', () => {
    const property = fc.property(fc.array(fc.option(fc.nat()), { maxLength: 200 }), (steps) => {
      const out: PoolBuffer[] = [];
      for (const which of steps) {
        if (which !== null && out.length > 0) {
          pool.give(out.splice(which % out.length, 1)[0]!);
          continue;
        }
        const buffer = pool.take();
        expect(buffer === undefined).toBe(out.length === 3);
        if (buffer) {
          expect(out).not.toContain(buffer);
          out.push(buffer);
        }
      }
      expect(pool.available + out.length).toBe(3);
      for (const buffer of out) pool.give(buffer);
    });
    fc.assert(property);
  });
});

describe('close', () => {
  test('closes each mapping once, detaches what is out, and is final', async () => {
    const space = new FakeSpace();
    const pool = await createPool(space, { size: MIB, count: 130 });
    const buffer = pool.take()!;
    const closing = pool.close();
    expect(pool.closed).toBe(true);
    expect(() => pool.take()).toThrow(code('ERR_VFIO_CLOSED'));
    expect(() => pool.takeIndex()).toThrow(code('ERR_VFIO_CLOSED'));
    expect(() => pool.give(buffer)).toThrow(code('ERR_VFIO_CLOSED'));
    await Promise.all([closing, pool.close()]);
    expect([space.open.size, space.closes]).toEqual([0, 3]);
    expect([buffer.u8.length, buffer.u32.length, buffer.u64.length]).toEqual([0, 0, 0]);
  });

  test('close waits for all of its memory where a part of it fails', async () => {
    const space = new FakeSpace();
    const pool = await createPool(space, { size: 64 << 20, count: 3 });
    const [first, second] = space.open;
    const failure = new Error('it stays');
    first!.close = () => Promise.reject(failure);
    let isClosed = false;
    const { close } = second!;
    second!.close = async () => {
      await new Promise(setImmediate);
      await close();
      isClosed = true;
    };
    await expect(pool.close()).rejects.toBe(failure);
    expect(isClosed).toBe(true);
  });

  test('a closed pool throws also when it was empty', async () => {
    const pool = await createPool(new FakeSpace(), { size: 64, count: 1 });
    pool.take();
    await pool[Symbol.asyncDispose]();
    expect(() => pool.take()).toThrow(code('ERR_VFIO_CLOSED'));
  });

  test('memory closed from below is not handed out', async () => {
    const space = new FakeSpace();
    const pool = await createPool(space, { size: 64, count: 2 });
    const buffer = pool.take()!;
    for (const slab of space.open) await slab.close();
    expect(() => pool.take()).toThrow(code('ERR_VFIO_CLOSED'));
    expect(() => pool.give(buffer)).toThrow(code('ERR_VFIO_CLOSED'));
    expect(pool.available).toBe(1);
  });
});

test('a million takes and gives allocate nothing', () => {
  const directory = mkdtempSync(join(tmpdir(), 'pool-'));
  try {
    for (const file of ['dma/pool', 'dma/piece', 'dma/alignment', 'all-done', 'errors']) {
      const { code } = transformFileSync(join(__dirname, `../../src/${file}.ts`), {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
        module: { type: 'commonjs' },
      });
      mkdirSync(dirname(join(directory, file)), { recursive: true });
      writeFileSync(join(directory, `${file}.js`), code);
    }
    // A young generation that a million objects of 16 bytes do not fill, so that none is collected.
    const flags = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64'];
    const output = execFileSync(process.execPath, [...flags, '-e', MEASURE, directory]);
    const { pool, literals } = JSON.parse(output.toString());
    // A byte for each round leaves room for what the compilers keep.
    expect(pool).toBeLessThan(1e6);
    expect(literals).toBeGreaterThan(8e6);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** Prints by how many bytes the heap grew; `literals` shows that an object for each round would be seen. */
const MEASURE = `
const { createPool } = require(process.argv[1] + '/dma/pool.js');
const alloc = async (size) => ({ iova: 4096n, u8: new Uint8Array(size), close: async () => {} });
const ROUNDS = 1e6;
let kept;
function grown(round) {
  for (let i = 0; i < 1e5; i++) round(i);
  gc();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < ROUNDS; i++) round(i);
  return process.memoryUsage().heapUsed - before;
}
createPool({ alloc }, { size: 64, count: 8 }).then((pool) => {
  const result = {
    pool: grown(() => {
      const a = pool.take();
      const b = pool.takeIndex();
      pool.give(a);
      pool.giveIndex(b);
    }),
    literals: grown((i) => { kept = { i }; }),
  };
  console.log(JSON.stringify(result));
});
`;

describe('bursts of indices', () => {
  const ids = new Uint32Array(8);

  test('as many as there are, each once, and back', async () => {
    const pool = await createPool(new FakeSpace(), { size: 64, count: 6 });
    expect(pool.takeIndices(ids, 0, 4)).toBe(4);
    const single = pool.takeIndex();
    expect(pool.takeIndices(ids, 4, 4)).toBe(1);
    expect([...ids.subarray(0, 5), single].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(pool.takeIndices(ids, 0, 8)).toBe(0);
    pool.giveIndices(ids, 1, 3);
    expect(pool.available).toBe(3);
    expect(pool.takeIndices(ids, 6, 100)).toBe(2);
    expect(pool.takeIndices(ids, 9, 1)).toBe(0);
    expect(pool.takeIndices(ids, 0, 100)).toBe(1);
  });

  test('one that is not out is refused, and those before it are in the pool', async () => {
    const pool = await createPool(new FakeSpace(), { size: 64, count: 6 });
    pool.takeIndices(ids, 0, 3);
    ids[2] = ids[0]!;
    expect(() => pool.giveIndices(ids, 0, 3)).toThrow(code('ERR_VFIO_NOT_TAKEN'));
    expect(pool.available).toBe(5);
    ids[0] = 6;
    expect(() => pool.giveIndices(ids, 0, 1)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
    expect(() => pool.giveIndices(ids, 8, 1)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
  });

  test.each([
    [0, Number.NaN],
    [0, 1.5],
    [0.5, 1],
    [-1, 2],
    [Number.NaN, 1],
  ])('from %d on, %d of them: refused, and the pool is as it was', async (start, count) => {
    const pool = await createPool(new FakeSpace(), { size: 64, count: 6 });
    pool.takeIndices(ids, 0, 2);
    for (const refused of [
      () => pool.takeIndices(ids, start, count),
      () => pool.giveIndices(ids, start, count),
    ]) {
      expect(refused).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    }
    expect(pool.available).toBe(4);
    expect(pool.takeIndices(ids, 2, 6)).toBe(4);
  });

  test('a chain comes back at once, its last buffer first', async () => {
    const pool = await createPool(new FakeSpace(), { size: 64, count: 6 });
    pool.takeIndices(ids, 0, 5);
    const { links } = pool;
    expect([...ids.subarray(0, 3)].map((id) => links[id])).toEqual([POOL_OUT, POOL_OUT, POOL_OUT]);
    links[ids[0]!] = -1;
    links[ids[1]!] = ids[0]!;
    links[ids[2]!] = ids[1]!;
    pool.giveChain(ids[2]!, ids[0]!, 3);
    expect(pool.available).toBe(4);
    const expected = [ids[2], ids[1], ids[0]];
    pool.giveIndices(ids, 3, 2);
    expect(pool.takeIndices(ids, 0, 6)).toBe(6);
    expect([...ids.subarray(2, 5)]).toEqual(expected);
    expect([...ids.subarray(0, 6)].sort()).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('a chain whose end is in none is refused, and the pool is as it was', async () => {
    const pool = await createPool(new FakeSpace(), { size: 64, count: 6 });
    pool.takeIndices(ids, 0, 2);
    pool.links[0] = -1;
    expect(() => pool.giveChain(1, 0, 2)).toThrow(code('ERR_VFIO_NOT_TAKEN'));
    expect(() => pool.giveChain(0, 1, 2)).toThrow(code('ERR_VFIO_NOT_TAKEN'));
    expect(() => pool.giveChain(0, 6, 2)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
    expect(() => pool.giveChain(0, 0, Number.NaN)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    expect(pool.available).toBe(4);
    pool.giveChain(0, 0, 1);
    expect(pool.available).toBe(5);
    await pool.close();
    pool.links[1] = -1;
    expect(() => pool.giveChain(1, 1, 1)).toThrow(code('ERR_VFIO_CLOSED'));
  });

  test('not from a closed pool', async () => {
    const pool = await createPool(new FakeSpace(), { size: 64, count: 6 });
    pool.takeIndices(ids, 0, 3);
    await pool.close();
    expect(() => pool.takeIndices(ids, 0, 1)).toThrow(code('ERR_VFIO_CLOSED'));
    expect(() => pool.giveIndices(ids, 0, 3)).toThrow(code('ERR_VFIO_CLOSED'));
  });
});
