/** Reading and writing blocks of a namespace through one queue pair: the hot path. */
import type { DataPointer } from './prp';
import type { CompletionSink, QueuePair } from './queue';
import { Io } from './registers';

const SLBA = 10;
const BLOCK_COUNT = 12;
const HIGH = 2 ** 32;

/** The most blocks of a command (NVM: 3.2.4, NLB). */
const MAX_BLOCKS = 65_536;

export { MAX_BLOCKS };

/** Imports are looked up at each use; these are constants in compiled code. */
const { READ, WRITE, FLUSH } = Io;

/**
 * Each of read, write and flush queues one command and returns its slot, or -1 if all slots are in
 * use. `ring()` then tells the controller of all of them, and `reap()` hands out what is done. None
 * of it allocates; numbers are to be within 31 bits for that.
 */
export class IoQueue {
  constructor(
    readonly pair: QueuePair,
    private readonly namespace: number,
    private readonly blockBytes: number,
  ) {}

  /** Read `blocks` blocks from block `lba` on into the start of `data` (NVM: 3.2.4). */
  read(lba: number, blocks: number, data: DataPointer): number {
    return this.transfer(READ, lba, blocks, data);
  }

  /** Write (NVM: 3.2.6). */
  write(lba: number, blocks: number, data: DataPointer): number {
    return this.transfer(WRITE, lba, blocks, data);
  }

  /** Have all that is written on media (7.1). */
  flush(): number {
    const at = this.pair.claimCleared(FLUSH, this.namespace);
    return at < 0 ? -1 : this.pair.push();
  }

  ring(): void {
    this.pair.ring();
  }

  reap(sink: CompletionSink, budget: number): number {
    return this.pair.reap(sink, budget);
  }

  private transfer(opcode: number, lba: number, blocks: number, data: DataPointer): number {
    const { pair } = this;
    const bytes = blocks * this.blockBytes;
    if (!(blocks >= 1 && blocks <= MAX_BLOCKS && bytes <= data.size)) this.refuse(blocks, data);
    const at = pair.claim(opcode, this.namespace);
    if (at < 0) return -1;
    // The words that no command of this queue writes are still 0.
    const { words } = pair;
    data.point(pair.quads, at >>> 1, bytes);
    words[at + SLBA] = lba;
    words[at + SLBA + 1] = (lba | 0) === lba ? 0 : lba / HIGH;
    words[at + BLOCK_COUNT] = blocks - 1;
    return pair.push();
  }

  private refuse(blocks: number, data: DataPointer): never {
    throw new RangeError(
      `${blocks} blocks of ${this.blockBytes} bytes: 1 to ${Math.floor(data.size / this.blockBytes)} fit the buffer`,
    );
  }
}
