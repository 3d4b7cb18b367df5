/** Physical region pages (base specification, 4.1.1): how a command says where its data is. */
import type { DmaBuffer } from 'vfio';
import { PAGE, Word } from './registers';

/** Entries of a list in one page; with it a command reaches 2 MiB, and the driver asks for 1 MiB. */
export const MAX_TRANSFER = 1 << 20;

/** Bytes of one page and of two. An import is looked up at each use; these are constants in compiled code. */
const ONE = PAGE;
const TWO = 2 * PAGE;

/** In 64-bit words. */
const PRP1 = Word.PRP1 / 2;
const PRP2 = Word.PRP2 / 2;
const ENTRY_BYTES = 8;

/** What is told of data and of the page that holds its list. */
export type DataMemory = Pick<DmaBuffer, 'iova' | 'size'>;
export type ListMemory = Pick<DmaBuffer, 'iova' | 'size' | 'u64'>;

/** Whether `bytes` bytes at `iova` touch more than two pages, and need a list. */
export function needsList(iova: bigint, bytes: number): boolean {
  return pages(Number(iova & BigInt(PAGE - 1)), bytes) > 2;
}

function pages(offset: number, bytes: number): number {
  return Math.ceil((offset + bytes) / PAGE);
}

/** Of a pointer's entries. */
const START = 0;
const SECOND = 1;
const LIST = 2;
const NONE = 3;

/**
 * The PRP entries of a piece of memory, computed once: to read or write its first n bytes then costs
 * two of them, copied.
 */
export class DataPointer {
  /** The most bytes of a command. */
  readonly size: number;
  private readonly offset: number;
  private readonly entries = new BigUint64Array(4);

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
    const second = iova - BigInt(this.offset) + BigInt(PAGE);
    this.entries[START] = iova;
    this.entries[SECOND] = second;
    if (needsList(iova, size)) {
      this.entries[LIST] = writeList(second, pages(this.offset, size) - 1, list);
    }
  }

  /** Have the command at `quads[at]` transfer the first `bytes` bytes, at most `size`. */
  point(quads: BigUint64Array, at: number, bytes: number): void {
    const { entries } = this;
    const end = this.offset + bytes;
    quads[at + PRP1] = entries[START]!;
    quads[at + PRP2] = entries[end <= ONE ? NONE : end <= TWO ? SECOND : LIST]!;
  }

  /** PRP1 and PRP2 of a command that transfers the first `bytes` bytes. @throws RangeError */
  entriesFor(bytes: number): [prp1: bigint, prp2: bigint] {
    if (!(bytes >= 1 && bytes <= this.size)) {
      throw new RangeError(`transfer of ${bytes} bytes: 1 to ${this.size} fit the buffer`);
    }
    const quads = new BigUint64Array(PRP2 + 1);
    this.point(quads, 0, bytes);
    return [quads[PRP1]!, quads[PRP2]!];
  }
}

/** Returns the list's address. */
function writeList(first: bigint, count: number, list: ListMemory | undefined): bigint {
  if (list === undefined || list.size < count * ENTRY_BYTES || list.iova % BigInt(PAGE) !== 0n) {
    throw new RangeError(`${count} pages of data need a page-aligned list of as many entries`);
  }
  for (let i = 0; i < count; i++) list.u64[i] = first + BigInt(i * PAGE);
  return list.iova;
}
