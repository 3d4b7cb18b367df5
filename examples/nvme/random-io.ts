/** Random reads or writes with a constant number of commands under way, without an allocation each. */
import { IoBurst } from './io-burst';
import type { IoQueue } from './io-queue';
import type { DataPointer } from './prp';
import { slotOf, statusOf } from './queue';
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

export class RandomIo {
  done = 0;
  private readonly queue: IoQueue;
  private readonly write: boolean;
  private readonly blocks: number;
  private readonly places: number;
  private readonly depth: number;
  private readonly burst: IoBurst;
  private readonly completions: Uint32Array;
  private seed = 1;
  private status = 0;

  constructor({ queue, pointers, write, blocks, span }: RandomIoOptions) {
    const { slots } = queue.pair;
    this.queue = queue;
    this.write = write;
    this.blocks = blocks;
    this.places = Math.floor(Math.min(span, 2 ** 31) / blocks);
    this.depth = pointers.length;
    this.burst = new IoBurst({ pointers, blocks, blockBytes: queue.blockBytes, slots });
    this.completions = new Uint32Array(this.depth);
    if (this.depth > slots) {
      throw new RangeError(`depth ${this.depth}: the queue has ${slots} slots`);
    }
    if (this.places < 1) throw new RangeError(`${span} blocks are too few for ${blocks}`);
  }

  /** Do `count` commands by polling. @throws NvmeError of the last that failed */
  run(count: number): void {
    const { queue, depth, completions } = this;
    this.status = 0;
    let left = count - this.first(Math.min(depth, count));
    while (queue.pair.inFlight > 0) {
      for (;;) {
        const done = queue.reap(completions, depth);
        if (done === 0) break;
        this.done += done;
        this.prepare(done);
        const again = done < left ? done : left;
        left -= again;
        this.submit(again);
      }
      // Not before, as doorbells cost the most: for all that came meanwhile.
      queue.ring();
    }
    if (this.status !== 0) throw new NvmeError(this.write ? 'write' : 'read', this.status);
  }

  /** As if `count` commands, each with a memory of its own, had been done before. */
  private first(count: number): number {
    const { completions, burst } = this;
    for (let i = 0; i < count; i++) burst.memoryOf[i] = completions[i] = i;
    this.prepare(count);
    this.submit(count);
    this.queue.ring();
    return count;
  }

  private submit(count: number): void {
    if (this.write) this.queue.writeBurst(this.burst, count);
    else this.queue.readBurst(this.burst, count);
  }

  /**
   * A next command for each of `count` completions: with its memory, at a place from a linear
   * congruential generator (Numerical Recipes), its upper bits.
   */
  private prepare(count: number): void {
    // Cut to 32 bits, they are multiplied and divided without a detour through floating point.
    const places = this.places | 0;
    const blocks = this.blocks | 0;
    const { completions } = this;
    const { lbas, memory, memoryOf } = this.burst;
    let { seed } = this;
    for (let i = 0; i < count; i++) {
      const completion = completions[i]!;
      if (statusOf(completion) !== 0) this.status = statusOf(completion);
      memory[i] = memoryOf[slotOf(completion)]!;
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) | 0;
      lbas[i] = Math.imul((seed >>> 8) % places, blocks);
    }
    this.seed = seed;
  }
}
