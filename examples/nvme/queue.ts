/**
 * A submission and a completion queue (base specification, 3.3) in DMA memory.
 *
 * The hot path allocates nothing: a command is written word by word where the controller fetches it,
 * commands are known by the number of their slot, and completions are handed to an object that is
 * there already. A slot is the command identifier. There is one slot less than entries, so that the
 * submission queue cannot overflow, whatever its head.
 */
import type { DmaBuffer, Region } from 'vfio';
import { COMPLETION_WORDS, Reg, SUBMISSION_WORDS } from './registers';

/** Word 3 of a completion (3.3.3.2): the command, then the phase tag and the status. */
const STATUS_WORD = 3;
const PHASE_SHIFT = 16;
const STATUS_SHIFT = 17;

/** Imports are looked up at each use; these are constants in compiled code. */
const SUBMISSION = SUBMISSION_WORDS;
const COMPLETION = COMPLETION_WORDS;

/** Loads are not reordered: what is read after a phase tag that has changed is what came with it. */
const ORDERED = process.arch === 'x64';

export type QueueMemory = Pick<DmaBuffer, 'u32' | 'u64' | 'iova' | 'iovaLo' | 'iovaHi'>;

/** Takes completions. */
export interface CompletionSink {
  /** Command `slot` is done, and the slot free; `status` is 0 or what decodeStatus() explains. */
  completed(slot: number, status: number): void;
}

export interface QueueOptions {
  /** 0 is the admin queue. */
  readonly id: number;
  /** Entries of either queue, a power of two from 2 to 65536. */
  readonly entries: number;
  /** Bytes from one doorbell to the next (CAP.DSTRD). */
  readonly doorbellStride: number;
  readonly submission: QueueMemory;
  readonly completion: QueueMemory;
}

export class QueuePair {
  readonly id: number;
  readonly entries: number;
  /** The submission queue, for the words of a claimed command; two of them are one of `quads`. */
  readonly words: Uint32Array;
  readonly quads: BigUint64Array;
  readonly submission: QueueMemory;
  readonly completion: QueueMemory;
  /** Commands that can be under way at once; slots are numbered from 0 below it. */
  readonly slots: number;
  /** Completions of no command that was under way: the controller is out of step. */
  unexpected = 0;
  private readonly completions: Uint32Array;
  private readonly tailDoorbell: number;
  private readonly headDoorbell: number;
  private readonly mask: number;
  private readonly free: Int32Array;
  private readonly busy: Uint8Array;
  private available = 0;
  private claimed = 0;
  private tail = 0;
  private tailRung = 0;
  private head = 0;
  private headRung = 0;
  private phase = 1;

  constructor(
    private readonly bar: Pick<Region, 'write32'>,
    { id, entries, doorbellStride, submission, completion }: QueueOptions,
  ) {
    if (!(entries >= 2 && entries <= 65_536) || (entries & (entries - 1)) !== 0) {
      throw new RangeError(`queue of ${entries} entries: use a power of two from 2 to 65536`);
    }
    this.id = id;
    this.entries = entries;
    this.slots = entries - 1;
    this.submission = submission;
    this.completion = completion;
    this.words = submission.u32;
    this.quads = submission.u64;
    this.completions = completion.u32;
    // PCIe transport 3.1.2.1 and 3.1.2.2
    this.tailDoorbell = Reg.DOORBELLS + 2 * id * doorbellStride;
    this.headDoorbell = Reg.DOORBELLS + (2 * id + 1) * doorbellStride;
    this.mask = entries - 1;
    this.free = new Int32Array(this.slots);
    this.busy = new Uint8Array(this.slots);
    this.restart();
  }

  /** Commands under way, and those pushed that the controller has not been told of. */
  get inFlight(): number {
    return this.slots - this.available;
  }

  isInFlight(slot: number): boolean {
    return this.busy[slot] === 1;
  }

  /** Empty, as the controller sees its queues after a reset; what was under way is gone. */
  restart(): void {
    this.words.fill(0);
    this.completions.fill(0);
    for (let i = 0; i < this.slots; i++) this.free[i] = this.slots - 1 - i;
    this.busy.fill(0);
    this.available = this.slots;
    this.tail = 0;
    this.tailRung = 0;
    this.head = 0;
    this.headRung = 0;
    this.phase = 1;
  }

  /**
   * Where the next command's 16 words stand in `words`: opcode, slot and namespace are filled in, the
   * others are what the place had before, 0 at first. -1 if all slots are in use. Claiming again before
   * `push` gives the same place.
   */
  claim(opcode: number, namespace: number): number {
    const { words, available } = this;
    if (available === 0) return -1;
    const slot = this.free[available - 1]!;
    const at = this.tail * SUBMISSION;
    words[at] = opcode | (slot << 16);
    // Cut to 32 bits, what is no constant is stored without a detour through floating point.
    words[at + 1] = namespace | 0;
    this.claimed = slot;
    return at;
  }

  /** As `claim`, with 0 in the others. */
  claimCleared(opcode: number, namespace: number): number {
    const at = this.claim(opcode, namespace);
    if (at >= 0) this.words.fill(0, at + 2, at + SUBMISSION);
    return at;
  }

  /** Queue the claimed command; the controller sees it at `ring`. Returns its slot. */
  push(): number {
    const slot = this.claimed;
    this.available--;
    this.busy[slot] = 1;
    this.tail = (this.tail + 1) & this.mask;
    return slot;
  }

  /** One doorbell for all commands pushed; the register write orders it behind their words. */
  ring(): void {
    if (this.tail === this.tailRung) return;
    this.tailRung = this.tail;
    this.bar.write32(this.tailDoorbell, this.tail);
  }

  /**
   * Hand up to `budget` completions to `sink`, which may claim and push, and one doorbell to the
   * controller. Returns how many there were.
   */
  reap(sink: CompletionSink, budget: number): number {
    const { completions } = this;
    let done = 0;
    while (done < budget) {
      const at = this.head * COMPLETION + STATUS_WORD;
      let word = ORDERED ? completions[at]! : Atomics.load(completions, at);
      if (((word >>> PHASE_SHIFT) & 1) !== this.phase) {
        if (done > 0 || !ORDERED) break;
        // Who waits must not be told for ever what a plain load once found.
        word = Atomics.load(completions, at);
        if (((word >>> PHASE_SHIFT) & 1) !== this.phase) break;
      }
      this.head = (this.head + 1) & this.mask;
      if (this.head === 0) this.phase ^= 1;
      done++;
      const slot = word & 0xffff;
      if (this.busy[slot] !== 1) {
        this.unexpected++;
        continue;
      }
      this.busy[slot] = 0;
      this.free[this.available++] = slot;
      sink.completed(slot, word >>> STATUS_SHIFT);
    }
    if (done > 0 || this.head !== this.headRung) {
      this.headRung = this.head;
      this.bar.write32(this.headDoorbell, this.head);
    }
    return done;
  }

  /** Word 0 of the completion that is being handed out. */
  get result(): number {
    return this.completions[((this.head - 1) & this.mask) * COMPLETION]!;
  }
}
