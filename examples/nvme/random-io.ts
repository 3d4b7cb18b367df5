/** Random reads or writes with a constant number of commands under way, without an allocation each. */
import type { IoQueue } from './io-queue';
import type { DataPointer } from './prp';
import type { CompletionSink } from './queue';
import { NvmeError } from './status';

export interface RandomIoOptions {
  readonly queue: IoQueue;
  /** One piece of memory for each command under way: as many as the queue depth. */
  readonly pointers: readonly DataPointer[];
  readonly write: boolean;
  /** Of a command. */
  readonly blocks: number;
  /** Commands begin at multiples of `blocks` below this block. */
  readonly span: number;
}

export class RandomIo implements CompletionSink {
  done = 0;
  private readonly queue: IoQueue;
  private readonly write: boolean;
  private readonly blocks: number;
  private readonly places: number;
  private readonly depth: number;
  /** By slot: the memory of its command. */
  private readonly pointers: DataPointer[];
  private readonly spare: DataPointer[];
  private seed = 1;
  private left = 0;
  private status = 0;

  constructor({ queue, pointers, write, blocks, span }: RandomIoOptions) {
    this.queue = queue;
    this.write = write;
    this.blocks = blocks;
    this.places = Math.floor(span / blocks);
    this.depth = pointers.length;
    this.spare = [...pointers];
    this.pointers = new Array(queue.pair.slots).fill(pointers[0]);
    if (this.depth > queue.pair.slots) {
      throw new RangeError(`depth ${this.depth}: the queue has ${queue.pair.slots} slots`);
    }
    if (this.places < 1) throw new RangeError(`${span} blocks are too few for ${blocks}`);
  }

  /** Do `count` commands by polling. @throws NvmeError of the last that failed */
  run(count: number): void {
    const { queue, depth } = this;
    this.left = count;
    this.status = 0;
    for (let i = 0; i < depth; i++) {
      if (this.left > 0) this.submit(this.spare[i]!);
    }
    queue.ring();
    while (queue.pair.inFlight > 0) {
      if (queue.reap(this, depth) > 0) queue.ring();
    }
    if (this.status !== 0) throw new NvmeError(this.write ? 'write' : 'read', this.status);
  }

  completed(slot: number, status: number): void {
    this.done++;
    if (status !== 0) this.status = status;
    if (this.left > 0) this.submit(this.pointers[slot]!);
  }

  private submit(pointer: DataPointer): void {
    this.left--;
    const lba = this.place() * this.blocks;
    const slot = this.write
      ? this.queue.write(lba, this.blocks, pointer)
      : this.queue.read(lba, this.blocks, pointer);
    this.pointers[slot] = pointer;
  }

  /** A linear congruential generator (Numerical Recipes), its upper bits. */
  private place(): number {
    this.seed = (Math.imul(this.seed, 1_664_525) + 1_013_904_223) | 0;
    return (this.seed >>> 8) % this.places;
  }
}
