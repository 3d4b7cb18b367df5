/**
 * Two ports of an 82576 in software, wired to each other: what one sends is received by the other at
 * once. Neither allocates, so that what a driver allocates on them is its own.
 */
import type { DmaPool } from 'vfio';
import { PacketPool } from '../examples/igb/packet-pool';
import { createQueues, type QueuePair } from '../examples/igb/queue-pair';
import { Pf, type PfRegister, Registers } from '../examples/igb/registers';
import { createPool } from '../src/dma/pool';

const DESCRIPTOR_WORDS = 4;
const DONE = 1;
const WHOLE_FRAME = 3;
const REPORT = 1 << 27;
const BAR_WORDS = 0x20000 / 4;
const QUEUE = Pf.queue(0);
const at = (register: number) => register >>> 2;

/** Memory that devices address by its offset. */
class Memory {
  readonly words: Uint32Array;
  private readonly memory: ArrayBuffer;
  private used = 4096;

  constructor(bytes: number) {
    this.memory = new ArrayBuffer(bytes);
    this.words = new Uint32Array(this.memory);
  }

  readonly alloc = (bytes: number) => {
    const start = this.used;
    this.used += Math.ceil(bytes / 4096) * 4096;
    const iova = { iova: BigInt(start), iovaLo: start, iovaHi: 0 };
    const u8 = new Uint8Array(this.memory, start, bytes);
    const u32 = new Uint32Array(this.memory, start, bytes >> 2);
    const u64 = new BigUint64Array(this.memory, start, bytes >> 3);
    return Promise.resolve({ ...iova, u8, u32, u64, close: async () => {} });
  };

  readonly pool = (options: { size: number; count: number }): Promise<DmaPool> =>
    createPool(this, options);
}

class SoftwarePort {
  peer: SoftwarePort = this;
  readonly bar = new Uint32Array(BAR_WORDS);
  readonly registers = new Registers<PfRegister>(this);

  constructor(private readonly memory: Memory) {}

  read32(offset: number): number {
    return this.bar[at(offset)]!;
  }

  write32(offset: number, value: number): void {
    this.bar[at(offset)] = value;
    if (offset === QUEUE.txQueue.TDT) this.transmit();
  }

  private transmit(): void {
    const { bar } = this;
    const { words } = this.memory;
    const ring = bar[at(QUEUE.txQueue.TDBAL)]! >>> 2;
    const mask = (bar[at(QUEUE.txQueue.TDLEN)]! >>> 4) - 1;
    const tail = bar[at(QUEUE.txQueue.TDT)]!;
    let head = bar[at(QUEUE.txQueue.TDH)]!;
    for (; head !== tail; head = (head + 1) & mask) {
      const descriptor = ring + head * DESCRIPTOR_WORDS;
      const command = words[descriptor + 2]!;
      this.peer.receive(words[descriptor]! >>> 2, command & 0xffff);
      if (command & REPORT) words[descriptor + 3] = DONE;
    }
    bar[at(QUEUE.txQueue.TDH)] = head;
  }

  private receive(frame: number, length: number): void {
    const { bar } = this;
    const { words } = this.memory;
    const ring = bar[at(QUEUE.rxQueue.RDBAL)]! >>> 2;
    const mask = (bar[at(QUEUE.rxQueue.RDLEN)]! >>> 4) - 1;
    const head = bar[at(QUEUE.rxQueue.RDH)]!;
    if (head === bar[at(QUEUE.rxQueue.RDT)]!) return;
    const descriptor = ring + head * DESCRIPTOR_WORDS;
    const buffer = words[descriptor]! >>> 2;
    for (let i = 0; i < length; i += 4) words[buffer + (i >>> 2)] = words[frame + (i >>> 2)]!;
    words[descriptor + 3] = length;
    words[descriptor + 2] = WHOLE_FRAME;
    bar[at(QUEUE.rxQueue.RDH)] = (head + 1) & mask;
  }
}

/** The queues of both, started, on one pool. */
export async function softwarePorts(
  buffers: number,
  ring: number,
): Promise<[QueuePair<PfRegister>, QueuePair<PfRegister>]> {
  const memory = new Memory(buffers * 2048 + ring * 64 + (1 << 20));
  const [a, b] = [new SoftwarePort(memory), new SoftwarePort(memory)];
  a.peer = b;
  b.peer = a;
  const pool = await PacketPool.create(memory, { count: buffers });
  const options = { rxCount: ring, txCount: ring, pool };
  const pairs: QueuePair<PfRegister>[] = [];
  for (const { registers } of [a, b]) {
    const pair = await createQueues(registers, QUEUE, memory as never, options);
    pair.rx.start();
    pair.tx.start();
    pairs.push(pair);
  }
  return pairs as [QueuePair<PfRegister>, QueuePair<PfRegister>];
}
