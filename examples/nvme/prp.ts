/** Physical region pages (base specification, 4.1.1): how a command says where its data is. */
import type { DmaBuffer } from 'vfio';
import { PAGE } from './registers';

/** Entries of a list in one page; with it a command reaches 2 MiB, and the driver asks for 1 MiB. */
export const MAX_TRANSFER = 1 << 20;

const PRP1 = 6;
const PRP2 = 8;
const ENTRY_BYTES = 8;

/** What is told of data and of the page that holds its list. */
export type DataMemory = Pick<DmaBuffer, 'iova' | 'size'>;
export type ListMemory = Pick<DmaBuffer, 'iova' | 'size' | 'u32'>;

/** Whether `bytes` bytes at `iova` touch more than two pages, and need a list. */
export function needsList(iova: bigint, bytes: number): boolean {
  return pages(Number(iova & BigInt(PAGE - 1)), bytes) > 2;
}

function pages(offset: number, bytes: number): number {
  return Math.ceil((offset + bytes) / PAGE);
}

/**
 * The PRP entries of a piece of memory, computed once: to read or write its first n bytes then costs
 * four words.
 */
export class DataPointer {
  /** The most bytes of a command. */
  readonly size: number;
  private readonly offset: number;
  /** Low and high halves of the start, the second page, and the list. */
  private readonly start: Uint32Array;
  private readonly second: Uint32Array;
  private readonly list: Uint32Array;

  /**
   * @param data in whole words (4.1.1: the two lowest bits of PRP1 are 0)
   * @param list a page for the list, if `needsList()`; written here
   */
  constructor(data: DataMemory, list?: ListMemory) {
    const { iova, size } = data;
    if (size < 1 || size > MAX_TRANSFER) {
      throw new RangeError(`transfer of ${size} bytes: 1 to ${MAX_TRANSFER}`);
    }
    if (iova % 4n !== 0n) throw new RangeError(`data at 0x${iova.toString(16)}: align it to 4`);
    this.size = size;
    this.offset = Number(iova % BigInt(PAGE));
    this.start = halves(iova);
    const second = iova - BigInt(this.offset) + BigInt(PAGE);
    this.second = halves(second);
    this.list = new Uint32Array(2);
    if (needsList(iova, size)) {
      this.list = halves(writeList(second, pages(this.offset, size) - 1, list));
    }
  }

  /** Have the command at `words[at]` transfer the first `bytes` bytes, at most `size`. */
  point(words: Uint32Array, at: number, bytes: number): void {
    const { start, second, list } = this;
    const end = this.offset + bytes;
    words[at + PRP1] = start[0]!;
    words[at + PRP1 + 1] = start[1]!;
    if (end <= PAGE) return;
    const rest = end <= 2 * PAGE ? second : list;
    words[at + PRP2] = rest[0]!;
    words[at + PRP2 + 1] = rest[1]!;
  }
}

/** Returns the list's address. */
function writeList(first: bigint, count: number, list: ListMemory | undefined): bigint {
  if (list === undefined || list.size < count * ENTRY_BYTES || list.iova % BigInt(PAGE) !== 0n) {
    throw new RangeError(`${count} pages of data need a page-aligned list of as many entries`);
  }
  for (let i = 0; i < count; i++) list.u32.set(halves(first + BigInt(i * PAGE)), 2 * i);
  return list.iova;
}

function halves(address: bigint): Uint32Array {
  return Uint32Array.of(Number(address & 0xffff_ffffn), Number(address >> 32n));
}
