/** The NVMe example's queues and PRP lists on plain memory, with a controller that answers in turn. */
import type { AddressSpace } from 'vfio';
import { parseNamespace } from '../../examples/nvme/identify-data';
import { PAGE, PrpLists } from '../../examples/nvme/prp';
import { QueuePair } from '../../examples/nvme/queue';
import { describeStatus, STATUS_RESET } from '../../examples/nvme/status';

/** Memory at the given I/O address and upwards. */
function memoryFrom(first: bigint) {
  let iova = first;
  const buffers: Array<{ iova: bigint; u32: Uint32Array }> = [];
  const alloc = async (size: number) => {
    const buffer = {
      iova,
      iovaLo: Number(iova & 0xffff_ffffn),
      iovaHi: Number(iova >> 32n),
      u32: new Uint32Array(size / 4),
      close: async () => {},
    };
    iova += BigInt(Math.ceil(size / PAGE) * PAGE);
    buffers.push(buffer);
    return buffer;
  };
  return { buffers, dma: { alloc } as unknown as AddressSpace };
}

const address = (iova: bigint) => ({
  iovaLo: Number(iova & 0xffff_ffffn),
  iovaHi: Number(iova >> 32n),
});

describe('PRP lists', () => {
  const LISTS = 0xfffff000n;

  /** Every page of a transfer as the controller finds it. */
  async function pages(iova: bigint, offset: number, bytes: number): Promise<bigint[]> {
    const { buffers, dma } = memoryFrom(LISTS);
    const lists = await PrpLists.create(dma, 2);
    const command = new Uint32Array(16);
    lists.fill(command, 6, 1, address(iova), offset, bytes);
    const at = (words: Uint32Array, i: number) =>
      (BigInt(words[i + 1]!) << 32n) | BigInt(words[i]!);
    const first = at(command, 6);
    const count = Math.ceil((Number(first % 4096n) + bytes) / PAGE);
    if (count === 1) return [first, at(command, 8)].filter((prp) => prp !== 0n);
    if (count === 2) return [first, at(command, 8)];
    expect(at(command, 8)).toBe(LISTS + 4096n); // the page of command ID 1
    const list = buffers[0]!.u32;
    return [first, ...Array.from({ length: count - 1 }, (_, i) => at(list, PAGE / 4 + 2 * i))];
  }

  test.each([
    ['one page', 0x10000n, 0, 4096],
    ['two pages of one, unaligned', 0x10000n, 2048, 4096],
    ['two pages', 0x10000n, 0, 8192],
    ['three pages', 0x10000n, 4092, 4100],
    ['1 MiB', 0x10000n, 0, 1 << 20],
    ['1 MiB, unaligned', 0x10000n, 512, 1 << 20],
    ['across 4 GiB', 0xffff_e000n, 0, 5 * 4096],
    ['an offset across 4 GiB', 0xffff_f000n, 8192, 4096],
  ])('%s', async (_, iova, offset, bytes) => {
    const start = iova + BigInt(offset);
    const expected = [start];
    for (let at = start - (start % 4096n) + 4096n; at < start + BigInt(bytes); at += 4096n) {
      expected.push(at);
    }
    expect(await pages(iova, offset, bytes)).toEqual(expected);
  });
});

describe('a queue pair', () => {
  const DEPTH = 4;
  const NOWHERE = { iovaLo: 0, iovaHi: 0 };

  async function create() {
    const { buffers, dma } = memoryFrom(0x10_0000n);
    const writes: Array<[number, number]> = [];
    const bar = { write32: (offset: number, value: number) => void writes.push([offset, value]) };
    const queue = await QueuePair.create(bar, dma, { id: 2, depth: DEPTH, stride: 1 });
    let slot = 0;
    let phase = 1;
    /** The controller completes a command. */
    const answer = (id: number, status = 0, result = 0) => {
      const words = buffers[1]!.u32;
      words[4 * slot] = result;
      words[4 * slot + 3] = id | (phase << 16) | (status << 17);
      slot = (slot + 1) % DEPTH;
      if (slot === 0) phase ^= 1;
    };
    const seen: Array<[number, number, number]> = [];
    const sink = { complete: (...completion: [number, number, number]) => seen.push(completion) };
    const submit = () => queue.submit(2, 1, NOWHERE, 0, 0, 5, 6, 7);
    return { queue, writes, answer, seen, sink, submit, commands: buffers[0]!.u32 };
  }

  test('is full with an entry left over, and rings one doorbell per batch', async () => {
    const { queue, writes, submit, commands } = await create();
    const ids = [submit(), submit(), submit()];
    expect(new Set(ids).size).toBe(3);
    expect(submit()).toBe(-1);
    expect(writes).toEqual([]);
    queue.ring();
    expect(writes).toEqual([[0x1000 + 4 * 8, 3]]);
    expect([...commands.subarray(26, 29)]).toEqual([5, 6, 7]);
  });

  test('completes in any order, around the end many times', async () => {
    const { queue, writes, answer, seen, sink, submit } = await create();
    for (let round = 0; round < 10; round++) {
      const ids = [submit(), submit()];
      expect(queue.reap(sink, 8)).toBe(0);
      answer(ids[1]!, 0, round);
      answer(ids[0]!, 0x80, 1);
      expect(queue.reap(sink, 8)).toBe(2);
      expect(seen.splice(0)).toEqual([
        [ids[1], 0, round],
        [ids[0], 0x80, 1],
      ]);
      expect(writes.at(-1)).toEqual([0x1000 + 5 * 8, (2 * (round + 1)) % DEPTH]);
    }
  });

  test('a completion of what is not under way is dropped', async () => {
    const { queue, answer, seen, sink, submit } = await create();
    const id = submit();
    answer(id);
    answer(id);
    answer(3);
    queue.reap(sink, 8);
    expect(seen).toEqual([[id, 0, 0]]);
    expect(queue.free).toBe(DEPTH - 1);
  });

  test('a restart ends what is under way', async () => {
    const { queue, seen, sink, submit } = await create();
    const ids = [submit(), submit()];
    queue.restart(sink);
    expect(seen).toEqual(ids.sort().map((id) => [id, STATUS_RESET, 0]));
    expect(queue.free).toBe(DEPTH - 1);
  });
});

test('status in words', () => {
  expect(describeStatus(0x4080)).toBe('LBA out of range (type 0, code 0x80, do not retry)');
  expect(describeStatus(0x0281)).toContain('unrecovered read error');
  expect(describeStatus(0x07ff)).toContain('type 7');
});

test('a namespace that says nonsense is refused', () => {
  const data = new Uint8Array(4096);
  expect(() => parseNamespace(data)).toThrow(RangeError);
  data[0] = 8;
  data[128 + 2] = 60;
  expect(() => parseNamespace(data)).toThrow('2^60');
  data[128 + 2] = 12;
  expect(parseNamespace(data)).toEqual({ blocks: 8n, blockBytes: 4096 });
});
