/**
 * Commands that are queued together, in columns: one for each thing in which they differ. A loop over
 * columns looks at each object once a turn; one command after the other, at several of each.
 */
import type { DataPointer } from './prp';

export interface IoBurstOptions {
  /** The memory that the commands name by its number, each with room for `blocks` blocks. */
  readonly pointers: readonly DataPointer[];
  /** Of each command. */
  readonly blocks: number;
  readonly blockBytes: number;
  /** Of the queue. */
  readonly slots: number;
}

export class IoBurst {
  readonly blocks: number;
  /** By command: its first block, below 2^32. */
  readonly lbas: Uint32Array;
  /** By command: which memory it has. */
  readonly memory: Int32Array;
  /** By slot: which memory the command has that is under way. */
  readonly memoryOf: Int32Array;
  /** By memory: PRP1 and PRP2. */
  readonly entries: BigUint64Array;

  /** @throws RangeError if the memory is too small */
  constructor({ pointers, blocks, blockBytes, slots }: IoBurstOptions) {
    this.blocks = blocks;
    this.lbas = new Uint32Array(slots);
    this.memory = new Int32Array(slots);
    this.memoryOf = new Int32Array(slots);
    this.entries = new BigUint64Array(2 * pointers.length);
    for (const [i, pointer] of pointers.entries()) {
      this.entries.set(pointer.entriesFor(blocks * blockBytes), 2 * i);
    }
  }
}
