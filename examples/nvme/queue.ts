/**
 * A submission and a completion queue (base specification, 3.3) in DMA memory.
 *
 * The hot path allocates nothing: a command is written word by word where the controller fetches it,
 * commands are known by the number of their slot, and completions are taken into an array that is
 * there already. A slot is the command identifier. There is one slot less than entries, so that the
 * submission queue cannot overflow, whatever its head.
 */
import type { DmaBuffer, Region } from 'vfio';
import type { IoBurst } from './io-burst';
import { COMPLETION_WORDS, Reg, SUBMISSION_WORDS, Word } from './registers';

/** Word 0 of a command (3.3.3.1): its identifier is its slot. */
const SLOT_SHIFT = 16;
const SLOT = 0xffff;

/** Word 3 of a completion (3.3.3.2): the command, then the phase tag and the status. */
const STATUS_WORD = 3;
const PHASE_SHIFT = 16;
const STATUS_SHIFT = 17;

/** Imports are looked up at each use; these are constants in compiled code. */
const SUBMISSION = SUBMISSION_WORDS;
const COMPLETION = COMPLETION_WORDS;
const { PRP1, PRP2, SLBA, SLBA_HIGH, BLOCK_COUNT } = Word;

/** In the place of the next free slot: a command is under way. */
const BUSY = -1;

/** Loads are not reordered: what is read after a phase tag that has changed is what came with it. */
const ORDERED = process.arch === 'x64';

export type QueueMemory = Pick<DmaBuffer, 'u32' | 'u64' | 'iova' | 'iovaLo' | 'iovaHi'>;

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
  /** By slot: the next free one, or BUSY. */
  private readonly next: Int32Array;
  private free = 0;
  private available = 0;
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
    this.next = new Int32Array(this.slots);
    this.restart();
  }

  /** Whether all slots are in use. */
  get full(): boolean {
    return this.available === 0;
  }

  /** Commands under way, and those pushed that the controller has not been told of. */
  get inFlight(): number {
    return this.slots - this.available;
  }

  isInFlight(slot: number): boolean {
    return this.next[slot] === BUSY;
  }

  /** Empty, as the controller sees its queues after a reset; what was under way is gone. */
  restart(): void {
    this.words.fill(0);
    this.completions.fill(0);
    for (let slot = 0; slot < this.slots; slot++) this.next[slot] = slot + 1;
    this.free = 0;
    this.available = this.slots;
    this.tail = 0;
    this.tailRung = 0;
    this.head = 0;
    this.headRung = 0;
    this.phase = 1;
  }

  /**
   * Queue a command, and return where its 16 words stand in `words`: opcode, slot and namespace are
   * filled in, the others are what the place had before, 0 at first. The controller sees them at
   * `ring`. @throws RangeError if the queue is full
   */
  push(opcode: number, namespace: number): number {
    const { words, next, available, free, tail } = this;
    if (available === 0) throw new RangeError(`all ${this.slots} slots are in use`);
    const at = Math.imul(tail, SUBMISSION);
    // Cut to 32 bits, what is no constant is stored without a detour through floating point.
    words[at] = opcode | (free << SLOT_SHIFT);
    words[at | 1] = namespace | 0;
    this.free = next[free]!;
    next[free] = BUSY;
    this.available = available - 1;
    this.tail = (tail + 1) & this.mask;
    return at;
  }

  /**
   * As `push`, for as many of the first `count` commands of `burst` as there are slots: all of their
   * words that `opcode` (read or write, NVM: 3.2.4 and 3.2.6) has. Returns how many there are.
   * @throws RangeError for memory that the burst does not have; the commands before are pushed
   */
  pushBurst(opcode: number, namespace: number, burst: IoBurst, count: number): number {
    const { words, quads, next, mask, available } = this;
    const { lbas, memory, memoryOf, entries } = burst;
    const pushed = count < available ? count : available;
    let { tail, free } = this;
    for (let i = 0; i < pushed; i++) {
      const at = Math.imul(tail, SUBMISSION);
      const which = memory[i]!;
      if (which < 0 || which >= entries.length >> 1) {
        this.pushed(i, tail, free);
        throw new RangeError(`command ${i} has memory ${which} of ${entries.length / 2}`);
      }
      words[at] = opcode | (free << SLOT_SHIFT);
      words[at | 1] = namespace | 0;
      quads[(at | PRP1) >>> 1] = entries[which << 1]!;
      quads[(at | PRP2) >>> 1] = entries[(which << 1) | 1]!;
      words[at | SLBA] = lbas[i]!;
      words[at | SLBA_HIGH] = 0;
      words[at | BLOCK_COUNT] = burst.blocks - 1;
      memoryOf[free] = which;
      const slot = free;
      free = next[slot]!;
      next[slot] = BUSY;
      tail = (tail + 1) & mask;
    }
    this.pushed(pushed, tail, free);
    return pushed;
  }

  private pushed(count: number, tail: number, free: number): void {
    this.tail = tail;
    this.free = free;
    this.available -= count;
  }

  /** As `push`, with 0 in the others. */
  pushCleared(opcode: number, namespace: number): number {
    const at = this.push(opcode, namespace);
    this.words.fill(0, at + 2, at + SUBMISSION);
    return at;
  }

  /** The slot of the command whose words stand at `at`. */
  slotAt(at: number): number {
    return this.words[at]! >>> SLOT_SHIFT;
  }

  /**
   * One doorbell for all completions taken, and one for all commands pushed; the register write orders
   * it behind their words.
   */
  ring(): void {
    if (this.head !== this.headRung) {
      this.headRung = this.head;
      this.bar.write32(this.headDoorbell, this.head);
    }
    if (this.tail === this.tailRung) return;
    this.tailRung = this.tail;
    this.bar.write32(this.tailDoorbell, this.tail);
  }

  /**
   * Take up to `budget` completions into `out`, which `slotOf` and `statusOf` read. Their slots are free
   * from now on, and their entries at `ring`. Returns how many there were.
   */
  reap(out: Uint32Array, budget: number): number {
    if (!this.isDone()) return 0;
    const { completions, next, mask } = this;
    let { head, phase, free } = this;
    let count = 0;
    for (let looked = 0; looked < budget; looked++) {
      const at = Math.imul(head, COMPLETION) | STATUS_WORD;
      const word = ORDERED ? completions[at]! : Atomics.load(completions, at);
      if (!isPhase(word, phase)) break;
      head = (head + 1) & mask;
      if (head === 0) phase ^= 1;
      const slot = word & SLOT;
      if (next[slot] !== BUSY) {
        this.unexpected++;
        continue;
      }
      next[slot] = free;
      free = slot;
      out[count++] = slot | ((word >>> STATUS_SHIFT) << SLOT_SHIFT);
    }
    this.head = head;
    this.phase = phase;
    this.free = free;
    this.available += count;
    return count;
  }

  /** Who waits must not be told for ever what a plain load once found: hence the second look. */
  private isDone(): boolean {
    const { completions, phase } = this;
    const at = Math.imul(this.head, COMPLETION) | STATUS_WORD;
    return isPhase(completions[at]!, phase) || isPhase(Atomics.load(completions, at), phase);
  }

  /** Word 0 of the completion that was taken last. */
  get result(): number {
    return this.completions[((this.head - 1) & this.mask) * COMPLETION]!;
  }
}

/** The slot of a completion that `reap` took. */
export function slotOf(completion: number): number {
  return completion & SLOT;
}

/** Its status: 0, or what decodeStatus() explains. */
export function statusOf(completion: number): number {
  return completion >>> SLOT_SHIFT;
}

function isPhase(word: number, phase: number): boolean {
  return ((word >>> PHASE_SHIFT) & 1) === phase;
}
