/** Reading and writing blocks of a namespace through one queue pair: the hot path. */
import type { IoBurst } from './io-burst';
import type { DataPointer } from './prp';
import type { QueuePair } from './queue';
import { Io, Word } from './registers';

const HIGH = 2 ** 32;

/** The most blocks of a command (NVM: 3.2.4, NLB). */
const MAX_BLOCKS = 65_536;

export { MAX_BLOCKS };

/** Imports are looked up at each use; these are constants in compiled code. */
const { READ, WRITE, FLUSH } = Io;
const { SLBA, SLBA_HIGH, BLOCK_COUNT } = Word;

/**
 * Each of read, write and flush queues one command and returns its slot, or -1 if all slots are in
 * use; a burst does so for many. `reap()` takes what is done, and `ring()` tells the controller of all
 * that was queued and taken. None of it allocates; numbers are to be within 31 bits for that.
 */
export class IoQueue {
  constructor(
    readonly pair: QueuePair,
    private readonly namespace: number,
    readonly blockBytes: number,
  ) {}

  /** Read `blocks` blocks from block `lba` on into the start of `data` (NVM: 3.2.4). */
  read(lba: number, blocks: number, data: DataPointer): number {
    return this.transfer(READ, lba, blocks, data);
  }

  /** Write (NVM: 3.2.6). */
  write(lba: number, blocks: number, data: DataPointer): number {
    return this.transfer(WRITE, lba, blocks, data);
  }

  /** The first `count` reads of `burst`, or as many as there are slots for. Returns how many. */
  readBurst(burst: IoBurst, count: number): number {
    return this.pair.pushBurst(READ, this.namespace, burst, count);
  }

  writeBurst(burst: IoBurst, count: number): number {
    return this.pair.pushBurst(WRITE, this.namespace, burst, count);
  }

  /** Have all that is written on media (7.1). */
  flush(): number {
    const { pair } = this;
    return pair.full ? -1 : pair.slotAt(pair.pushCleared(FLUSH, this.namespace));
  }

  ring(): void {
    this.pair.ring();
  }

  reap(out: Uint32Array, budget: number): number {
    return this.pair.reap(out, budget);
  }

  private transfer(opcode: number, lba: number, blocks: number, data: DataPointer): number {
    const { pair } = this;
    const bytes = blocks * this.blockBytes;
    if (!(blocks >= 1 && blocks <= MAX_BLOCKS && bytes <= data.size)) this.refuse(blocks, data);
    if (pair.full) return -1;
    const at = pair.push(opcode, this.namespace);
    // The words that no command of this queue writes are still 0.
    const { words } = pair;
    data.point(pair.quads, at >>> 1, bytes);
    words[at | SLBA] = lba;
    words[at | SLBA_HIGH] = (lba | 0) === lba ? 0 : lba / HIGH;
    words[at | BLOCK_COUNT] = blocks - 1;
    return pair.slotAt(at);
  }

  private refuse(blocks: number, data: DataPointer): never {
    throw new RangeError(
      `${blocks} blocks of ${this.blockBytes} bytes: 1 to ${Math.floor(data.size / this.blockBytes)} fit the buffer`,
    );
  }
}
