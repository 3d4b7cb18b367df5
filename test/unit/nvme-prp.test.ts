import { DataPointer, MAX_TRANSFER, needsList } from '../../examples/nvme/prp';
import { memory } from './nvme-fake';

const LIST = 0x7_0000_1000n;

/** The pages a controller would transfer, as [address, bytes], following the entries as it does (4.1.1). */
function transferred(
  words: Uint32Array,
  bytes: number,
  list: Uint32Array,
): Array<[bigint, number]> {
  const address = (from: Uint32Array, i: number) =>
    BigInt(from[i]!) | (BigInt(from[i + 1]!) << 32n);
  const first = address(words, 6);
  const pieces: Array<[bigint, number]> = [];
  let left = bytes;
  const take = (at: bigint) => {
    const piece = Math.min(left, 4096 - Number(at % 4096n));
    pieces.push([at, piece]);
    left -= piece;
  };
  take(first);
  if (left > 0 && left <= 4096) take(address(words, 8));
  if (left > 0) expect(address(words, 8)).toBe(LIST);
  for (let i = 0; left > 0; i += 2) {
    expect(address(list, i) % 4096n).toBe(0n);
    take(address(list, i));
  }
  return pieces;
}

const IOVAS = [0x10_0000n, 0x10_0004n, 0x10_0ffcn, 0xffff_f000n, 0x1234_5678_9000n];
const SIZES = [4, 512, 4092, 4096, 4100, 8192, 8196, 12_288, 65_536, MAX_TRANSFER];

test.each(IOVAS)('every transfer from %d on is the memory in order', (iova) => {
  for (const size of SIZES) {
    const list = memory(4096, LIST);
    const pointer = new DataPointer({ iova, size }, list);
    for (const bytes of SIZES.filter((n) => n <= size)) {
      const words = new Uint32Array(16);
      pointer.point(new BigUint64Array(words.buffer), 0, bytes);
      let expected = iova;
      let total = 0;
      for (const [address, piece] of transferred(words, bytes, list.u32)) {
        expect(address).toBe(expected);
        expected += BigInt(piece);
        total += piece;
      }
      expect(total).toBe(bytes);
    }
  }
});

test('a list is needed from the third page on', () => {
  expect(needsList(0x1000n, 8192)).toBe(false);
  expect(needsList(0x1000n, 8193)).toBe(true);
  expect(needsList(0x1004n, 8192)).toBe(true);
});

test('refusals', () => {
  const data = { iova: 0x1000n, size: 12_288 };
  expect(() => new DataPointer(data)).toThrow('2 pages of data need a page-aligned list');
  expect(() => new DataPointer(data, memory(8, LIST))).toThrow('need a page-aligned list');
  expect(() => new DataPointer(data, memory(4096, LIST + 8n))).toThrow('need a page-aligned list');
  expect(() => new DataPointer({ iova: 0x1002n, size: 4 })).toThrow('align it to 4');
  expect(() => new DataPointer({ iova: 0x1000n, size: MAX_TRANSFER + 1 })).toThrow(RangeError);
});
