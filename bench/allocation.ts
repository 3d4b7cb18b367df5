/**
 * What an I/O or a packet leaves to the garbage collector: the drivers' own queues, with devices in
 * software that do at once what they are told.
 */
import { getHeapStatistics } from 'node:v8';
import { BURST, Forwarder } from '../examples/igb/forwarder';
import { IoQueue } from '../examples/nvme/io-queue';
import { DataPointer } from '../examples/nvme/prp';
import { QueuePair } from '../examples/nvme/queue';
import { RandomIo } from '../examples/nvme/random-io';
import { COMPLETION_WORDS, SUBMISSION_WORDS } from '../examples/nvme/registers';
import { collectGarbage } from './garbage';
import { forwardFrames, makeFrames, Sender } from './igb';
import { softwarePorts } from './software-igb';

const ENTRIES = 64;
const DEPTH = 32;

function memory(bytes: number) {
  const u32 = new Uint32Array(bytes / 4);
  const iova = 0x1_0000_0000n;
  return { u32, u64: new BigUint64Array(u32.buffer), iova, iovaLo: 0, iovaHi: 1, size: bytes };
}

/** The doorbells of a controller that has no latency. */
class SoftwareController {
  readonly submission = memory(ENTRIES * SUBMISSION_WORDS * 4);
  readonly completion = memory(ENTRIES * COMPLETION_WORDS * 4);
  private head = 0;
  private tail = 0;
  private phase = 1;

  write32(offset: number, value: number): void {
    // Of queue 1: the tail, then the head.
    if (offset !== 0x1008) return;
    while (this.head !== value) {
      const slot = this.submission.u32[this.head * SUBMISSION_WORDS]! >>> 16;
      this.head = (this.head + 1) & (ENTRIES - 1);
      this.completion.u32[this.tail * COMPLETION_WORDS + 3] = slot | (this.phase << 16);
      this.tail = (this.tail + 1) & (ENTRIES - 1);
      if (this.tail === 0) this.phase ^= 1;
    }
  }
}

/** Bytes that `count` reads leave behind, each. */
export function bytesPerIo(count: number): number {
  const controller = new SoftwareController();
  const { submission, completion } = controller;
  const doorbells = { id: 1, entries: ENTRIES, doorbellStride: 4 };
  const pair = new QueuePair(controller, { ...doorbells, submission, completion });
  const pointers = Array.from(
    { length: DEPTH },
    (_, i) => new DataPointer({ iova: BigInt(i + 1) << 12n, size: 4096 }),
  );
  const queue = new IoQueue(pair, 1, 512);
  const io = new RandomIo({ queue, pointers, write: false, blocks: 8, span: 2 ** 21 });
  return bytesEach(count, () => io.run(count));
}

/** Bytes that `count` forwarded packets leave behind, each. */
export async function bytesPerPacket(count: number): Promise<number> {
  const [a, b] = await softwarePorts(4096, 1024);
  makeFrames(a.pool);
  for (const { pool, tx } of [a, b]) new Sender(pool, tx).send(2 * BURST);
  const forwarder = new Forwarder(a.pool, a, b);
  return bytesEach(count, () => forwardFrames(forwarder, count));
}

function bytesEach(count: number, run: () => void): number {
  run();
  collectGarbage();
  // Once more settles what the collection has thrown away; heap that grew then is what was allocated.
  run();
  const before = getHeapStatistics();
  run();
  const after = getHeapStatistics();
  return Math.max(0, after.used_heap_size - before.used_heap_size) / count;
}
