/** Commands one at a time as promises, with a time limit: for the admin queue and for convenience. */
import type { DataAddress } from './prp';
import type { CompletionSink, QueuePair } from './queue';
import { describeStatus, NvmeError } from './status';

/** A command in the words of its queue entry (NVMe Base 2.0, 3.3.3.1). */
export interface Command {
  readonly opcode: number;
  readonly namespace?: number;
  readonly data?: DataAddress;
  /** Bytes into `data` (a multiple of 4), and how many are moved. */
  readonly offset?: number;
  readonly bytes?: number;
  readonly dword10?: number;
  readonly dword11?: number;
  readonly dword12?: number;
}

interface Waiter {
  readonly command: Command;
  readonly timer: NodeJS.Timeout;
  resolve(result: number): void;
  reject(error: Error): void;
}

const NOWHERE: DataAddress = { iovaLo: 0, iovaHi: 0 };

export class Commands implements CompletionSink {
  private readonly waiters = new Map<number, Waiter>();

  /** `onTimeout` sees to it that the command ends: by an abort, or by a reset. */
  constructor(
    readonly queue: QueuePair,
    private readonly onTimeout: (queue: QueuePair, id: number) => void,
  ) {}

  /** Dword 0 of the completion. @throws NvmeError */
  run(command: Command, timeout: number): Promise<number> {
    const { opcode, namespace = 0, data = NOWHERE, offset = 0, bytes = 0 } = command;
    const { dword10 = 0, dword11 = 0, dword12 = 0 } = command;
    const id = this.queue.submit(opcode, namespace, data, offset, bytes, dword10, dword11, dword12);
    if (id < 0) return Promise.reject(new NvmeError('the queue is full', -1, 'wait for commands'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.onTimeout(this.queue, id), timeout);
      this.waiters.set(id, { command, timer, resolve, reject });
      this.queue.ring();
      this.poll();
    });
  }

  complete(id: number, status: number, result: number): void {
    const waiter = this.waiters.get(id);
    if (!waiter) return;
    this.waiters.delete(id);
    clearTimeout(waiter.timer);
    if (status === 0) waiter.resolve(result);
    else {
      const opcode = waiter.command.opcode.toString(16);
      waiter.reject(
        new NvmeError(
          `command 0x${opcode} of queue ${this.queue.position.id}: ${describeStatus(status)}`,
          status,
        ),
      );
    }
  }

  /** Whether a command is still under way. */
  pending(id: number): boolean {
    return this.waiters.has(id);
  }

  /** After an interrupt, and in turn with the event loop while anything is under way. */
  readonly reap = (): void => {
    this.queue.reap(this, this.queue.position.depth);
  };

  private polling = false;
  private poll(): void {
    if (this.polling) return;
    this.polling = true;
    const turn = () => {
      this.reap();
      if (this.waiters.size > 0) setImmediate(turn);
      else this.polling = false;
    };
    setImmediate(turn);
  }
}
