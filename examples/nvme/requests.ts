/** I/O commands as promises: the convenient way, and the one that watches the time. */
import type { IoQueue } from './io-queue';
import { slotOf, statusOf } from './queue';
import { ControllerError, NvmeError } from './status';

/** Queues a command on its queue, and returns its slot or -1. */
export type Submit = (queue: IoQueue) => number;

interface Pending {
  readonly name: string;
  readonly deadline: number;
  resolve(): void;
  reject(error: Error): void;
}

export class Requests {
  private readonly pending: Array<Pending | undefined>;
  /** Requests that wait for a slot. */
  private waiting: Array<() => void> = [];
  private polling = false;
  private readonly completions: Uint32Array;

  /** @param interrupts whether somebody calls `reap` at interrupts; otherwise the event loop polls */
  constructor(
    readonly queue: IoQueue,
    private readonly timeoutMs: number,
    private readonly interrupts: boolean,
  ) {
    this.pending = new Array(queue.pair.slots).fill(undefined);
    this.completions = new Uint32Array(queue.pair.slots);
  }

  /** Resolves when the command is done. @throws NvmeError, ControllerError if the controller was reset */
  async run(name: string, submit: Submit): Promise<void> {
    let slot = submit(this.queue);
    while (slot < 0) {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
      slot = submit(this.queue);
    }
    const done = new Promise<void>((resolve, reject) => {
      this.pending[slot] = { name, deadline: Date.now() + this.timeoutMs, resolve, reject };
    });
    this.queue.ring();
    if (!this.interrupts) this.poll();
    await done;
  }

  reap(): void {
    const count = this.queue.reap(this.completions, this.completions.length);
    this.queue.ring();
    for (let i = 0; i < count; i++) this.completed(this.completions[i]!);
  }

  /** A slot whose command is late, or -1. */
  late(now: number): number {
    return this.pending.findIndex((request) => request !== undefined && request.deadline < now);
  }

  isPending(slot: number): boolean {
    return this.pending[slot] !== undefined;
  }

  /** The controller was reset: nothing that was under way will complete. */
  fail(reason: string): void {
    for (const [slot, request] of this.pending.entries()) {
      this.pending[slot] = undefined;
      request?.reject(
        new ControllerError(`${request.name}: ${reason}`, 'it may or may not be done'),
      );
    }
    const { waiting } = this;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }

  private completed(completion: number): void {
    const slot = slotOf(completion);
    const status = statusOf(completion);
    const request = this.pending[slot];
    this.pending[slot] = undefined;
    if (status === 0) request?.resolve();
    else request?.reject(new NvmeError(request.name, status));
    this.waiting.shift()?.();
  }

  private poll(): void {
    if (this.polling) return;
    this.polling = true;
    const turn = () => {
      this.reap();
      this.polling = this.queue.pair.inFlight > 0;
      if (this.polling) setImmediate(turn);
    };
    setImmediate(turn);
  }
}
