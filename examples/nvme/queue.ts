/**
 * A submission queue and its completion queue (NVMe Base 2.0, 3.3): the hot path, which allocates
 * nothing. Commands are written in place; the doorbell is rung once per batch.
 */
import type { AddressSpace, DmaBuffer, Region } from 'vfio';
import { type DataAddress, PrpLists } from './prp';
import { headDoorbell, tailDoorbell } from './registers';
import { STATUS_RESET } from './status';

const SUBMISSION_BYTES = 64;
const SUBMISSION_WORDS = SUBMISSION_BYTES / 4;
const COMPLETION_BYTES = 16;
const COMPLETION_WORDS = COMPLETION_BYTES / 4;
/** Word 3 of a completion (3.3.3.2): command ID, phase tag, status. */
const PHASE = 1 << 16;

/** Takes completions; `result` is command specific, `status` 0 for success (see status.ts). */
export interface CompletionSink {
  complete(id: number, status: number, result: number): void;
}

export interface QueuePosition {
  readonly id: number;
  /** Entries: one less can be under way. */
  readonly depth: number;
  /** CAP.DSTRD. */
  readonly stride: number;
}

export class QueuePair {
  private readonly commands: Uint32Array;
  private readonly completions: Uint32Array;
  private readonly tailDoorbell: number;
  private readonly headDoorbell: number;
  private readonly freeIds: Uint16Array;
  private readonly underWay: Uint8Array;
  private available: number;
  private tail = 0;
  private head = 0;
  private phase = PHASE;

  private constructor(
    private readonly bar: Pick<Region, 'write32'>,
    readonly position: QueuePosition,
    readonly submission: DmaBuffer,
    readonly completion: DmaBuffer,
    private readonly lists: PrpLists,
  ) {
    const { id, depth, stride } = position;
    this.commands = submission.u32;
    this.completions = completion.u32;
    this.tailDoorbell = tailDoorbell(id, stride);
    this.headDoorbell = headDoorbell(id, stride);
    this.available = depth - 1;
    this.freeIds = Uint16Array.from({ length: depth - 1 }, (_, i) => depth - 2 - i);
    this.underWay = new Uint8Array(depth);
  }

  static async create(
    bar: Pick<Region, 'write32'>,
    dma: AddressSpace,
    position: QueuePosition,
  ): Promise<QueuePair> {
    const { depth } = position;
    return new QueuePair(
      bar,
      position,
      await dma.alloc(depth * SUBMISSION_BYTES),
      await dma.alloc(depth * COMPLETION_BYTES),
      await PrpLists.create(dma, depth),
    );
  }

  /** Commands that can be submitted now. */
  get free(): number {
    return this.available;
  }

  /**
   * Write a command; the controller sees it at `ring`. Dwords 10 to 12 are the command's own.
   * Returns its ID, or -1 if the queue is full.
   */
  submit(
    opcode: number,
    namespace: number,
    data: DataAddress,
    offset: number,
    bytes: number,
    dword10: number,
    dword11: number,
    dword12: number,
  ): number {
    if (this.available === 0) return -1;
    const id = this.freeIds[--this.available]!;
    this.underWay[id] = 1;
    const { commands } = this;
    const at = this.tail * SUBMISSION_WORDS;
    commands[at] = opcode | (id << 16);
    commands[at + 1] = namespace;
    commands[at + 2] = 0;
    commands[at + 3] = 0;
    commands[at + 4] = 0;
    commands[at + 5] = 0;
    if (bytes > 0) {
      this.lists.fill(commands, at + 6, id, data, offset, bytes);
    } else {
      commands[at + 6] = 0;
      commands[at + 7] = 0;
      commands[at + 8] = 0;
      commands[at + 9] = 0;
    }
    commands[at + 10] = dword10;
    commands[at + 11] = dword11;
    commands[at + 12] = dword12;
    commands[at + 13] = 0;
    commands[at + 14] = 0;
    commands[at + 15] = 0;
    this.tail = this.tail + 1 === this.position.depth ? 0 : this.tail + 1;
    return id;
  }

  /** Tell the controller of all commands submitted so far. */
  ring(): void {
    this.bar.write32(this.tailDoorbell, this.tail);
  }

  /** Hand up to `budget` completions to `sink`, which may submit. Returns how many. */
  reap(sink: CompletionSink, budget: number): number {
    const { completions } = this;
    let done = 0;
    while (done < budget) {
      const at = this.head * COMPLETION_WORDS;
      const word = Atomics.load(completions, at + 3);
      if ((word & PHASE) !== this.phase) break;
      this.head++;
      if (this.head === this.position.depth) {
        this.head = 0;
        this.phase ^= PHASE;
      }
      done++;
      this.finish(word & 0xffff, word >>> 17, completions[at]!, sink);
    }
    if (done > 0) this.bar.write32(this.headDoorbell, this.head);
    return done;
  }

  /** Forget what was under way, as the controller has after a reset; `sink` hears of each. */
  restart(sink: CompletionSink): void {
    this.tail = 0;
    this.head = 0;
    this.phase = PHASE;
    this.completions.fill(0);
    for (let id = 0; id < this.underWay.length; id++) {
      if (this.underWay[id] === 1) this.finish(id, STATUS_RESET, 0, sink);
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.submission.close(), this.completion.close(), this.lists.close()]);
  }

  private finish(id: number, status: number, result: number, sink: CompletionSink): void {
    // An ID that is not under way is the controller's error; taking it twice would be ours.
    if (this.underWay[id] !== 1) return;
    this.underWay[id] = 0;
    this.freeIds[this.available++] = id;
    sink.complete(id, status, result);
  }
}
