/**
 * Physical region pages (NVMe Base 2.0, 4.1.1): where the data of a command is.
 *
 * The memory of a DmaBuffer is contiguous in I/O addresses, so a list is a count upwards. Each
 * command ID has a page for its list, made beforehand: nothing is allocated per command.
 */
import type { AddressSpace, DmaBuffer } from 'vfio';

export const PAGE = 4096;
/** 512 entries of 8 bytes, the last of which would chain to another list; a first page is in PRP1. */
export const MAX_TRANSFER = 1 << 20;

/** Where data begins, in words for descriptors: a DmaBuffer or a PoolBuffer is one. */
export interface DataAddress {
  readonly iovaLo: number;
  readonly iovaHi: number;
}

export class PrpLists {
  private readonly words: Uint32Array;
  private readonly low: Uint32Array;
  private readonly high: Uint32Array;

  private constructor(
    private readonly memory: DmaBuffer,
    count: number,
  ) {
    this.words = memory.u32;
    this.low = new Uint32Array(count);
    this.high = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const iova = memory.iova + BigInt(i * PAGE);
      this.low[i] = Number(iova & 0xffff_ffffn);
      this.high[i] = Number(iova >> 32n);
    }
  }

  static async create(dma: AddressSpace, count: number): Promise<PrpLists> {
    return new PrpLists(await dma.alloc(count * PAGE), count);
  }

  /**
   * Write PRP1 and PRP2 of a command at word `at` of `command`, for `bytes` (up to 1 MiB) from
   * `data` + `offset`, which is a multiple of 4.
   */
  fill(
    command: Uint32Array,
    at: number,
    id: number,
    data: DataAddress,
    offset: number,
    bytes: number,
  ): void {
    const start = data.iovaLo + offset; // a sum beyond 32 bits is exact in a double
    let low = start >>> 0;
    let high = start > 0xffff_ffff ? data.iovaHi + 1 : data.iovaHi;
    command[at] = low;
    command[at + 1] = high;
    let left = bytes - (PAGE - (low & (PAGE - 1)));
    if (left <= 0) {
      command[at + 2] = 0;
      command[at + 3] = 0;
      return;
    }
    low = (low & -PAGE) >>> 0;
    const single = left <= PAGE;
    const list = single ? command : this.words;
    let entry = single ? at + 2 : id * (PAGE / 4);
    if (!single) {
      command[at + 2] = this.low[id]!;
      command[at + 3] = this.high[id]!;
    }
    for (; left > 0; left -= PAGE) {
      low = (low + PAGE) >>> 0;
      if (low === 0) high++;
      list[entry] = low;
      list[entry + 1] = high;
      entry += 2;
    }
  }

  close(): Promise<void> {
    return this.memory.close();
  }
}
