/** Queue memory without a device, and a controller that completes what a test tells it to. */
import { QueuePair } from '../../examples/nvme/queue';
import { COMPLETION_WORDS, SUBMISSION_WORDS } from '../../examples/nvme/registers';

export function memory(size: number, iova = 0x1_0000n) {
  const u32 = new Uint32Array(size / 4);
  return {
    u32,
    u64: new BigUint64Array(u32.buffer),
    iova,
    iovaLo: Number(iova & 0xffff_ffffn),
    iovaHi: Number(iova >> 32n),
    size,
  };
}

export class FakeBar {
  readonly writes: Array<[offset: number, value: number]> = [];

  write32(offset: number, value: number): void {
    this.writes.push([offset, value]);
  }
}

export class FakeQueue {
  readonly bar = new FakeBar();
  readonly queue: QueuePair;
  private posted = 0;

  constructor(
    private readonly entries: number,
    id = 1,
    doorbellStride = 4,
  ) {
    this.queue = new QueuePair(this.bar, {
      id,
      entries,
      doorbellStride,
      submission: memory(entries * SUBMISSION_WORDS * 4),
      completion: memory(entries * COMPLETION_WORDS * 4, 0x2_0000n),
    });
  }

  /** Write a completion (3.3.3.2), with the phase tag of the round that it is in. */
  complete(slot: number, status = 0, result = 0): void {
    const at = (this.posted % this.entries) * COMPLETION_WORDS;
    const phase = Math.floor(this.posted / this.entries) % 2 === 0 ? 1 : 0;
    this.queue.completion.u32[at] = result;
    this.queue.completion.u32[at + 3] = slot | (phase << 16) | (status << 17);
    this.posted++;
  }
}
