/** Admin commands, one after the other, waited for by polling: they are rare and on no hot path. */
import { setImmediate } from 'node:timers/promises';
import type { QueuePair } from './queue';
import { ControllerError, NvmeError } from './status';

/** Where a command's data is; words 10 to 15 of the command depend on its opcode. */
export interface AdminCommand {
  /** For messages. */
  readonly name: string;
  readonly opcode: number;
  readonly namespace?: number;
  /** IOVA of at most a page of data, page-aligned. */
  readonly data?: { readonly iovaLo: number; readonly iovaHi: number };
  /** Words 10, 11 and so on. */
  readonly words?: readonly number[];
}

const PRP1 = 6;
const WORD_10 = 10;

export class AdminQueue {
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly queue: QueuePair,
    private readonly timeoutMs: number,
  ) {}

  /** Word 0 of the completion. @throws NvmeError, ControllerError after the timeout */
  run(command: AdminCommand): Promise<number> {
    const done = this.last.then(() => this.execute(command));
    this.last = done.catch(() => {});
    return done;
  }

  private async execute({ name, opcode, namespace = 0, data, words = [] }: AdminCommand) {
    const { queue } = this;
    const at = queue.claimCleared(opcode, namespace);
    if (at < 0)
      throw new ControllerError(`${name}: the admin queue is full`, 'reset the controller');
    if (data) queue.words.set([data.iovaLo, data.iovaHi], at + PRP1);
    queue.words.set(words, at + WORD_10);
    const slot = queue.push();
    let status = -1;
    let result = 0;
    const sink = {
      // A command that timed out before may complete now.
      completed(completed: number, its: number) {
        if (completed !== slot) return;
        status = its;
        result = queue.result;
      },
    };
    queue.ring();
    const deadline = Date.now() + this.timeoutMs;
    while (status < 0) {
      if (queue.reap(sink, queue.slots) > 0) continue;
      if (Date.now() > deadline) {
        throw new ControllerError(
          `${name}: no completion within ${this.timeoutMs} ms`,
          'the controller hangs, or its DMA is off; reset it',
        );
      }
      await setImmediate();
    }
    if (status !== 0) throw new NvmeError(name, status);
    return result;
  }
}
