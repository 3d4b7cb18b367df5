/** Admin commands, one after the other, waited for by polling: they are rare and on no hot path. */
import { setImmediate } from 'node:timers/promises';
import { type QueuePair, slotOf, statusOf } from './queue';
import { Word } from './registers';
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

const WORD_10 = 10;

export class AdminQueue {
  private last: Promise<unknown> = Promise.resolve();
  private readonly completion = new Uint32Array(1);

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
    if (queue.full)
      throw new ControllerError(`${name}: the admin queue is full`, 'reset the controller');
    const at = queue.pushCleared(opcode, namespace);
    if (data) queue.words.set([data.iovaLo, data.iovaHi], at + Word.PRP1);
    queue.words.set(words, at + WORD_10);
    const slot = queue.slotAt(at);
    queue.ring();
    const deadline = Date.now() + this.timeoutMs;
    for (;;) {
      // One at a time, as `result` is that of the last. What timed out before may complete now.
      if (queue.reap(this.completion, 1) > 0 && slotOf(this.completion[0]!) === slot) break;
      if (Date.now() > deadline) {
        throw new ControllerError(
          `${name}: no completion within ${this.timeoutMs} ms`,
          'the controller hangs, or its DMA is off; reset it',
        );
      }
      await setImmediate();
    }
    const status = statusOf(this.completion[0]!);
    const { result } = queue;
    queue.ring();
    if (status !== 0) throw new NvmeError(name, status);
    return result;
  }
}
