/** A receive and a transmit queue that share a pool of buffers. */
import { allocateRing, type RingSpace } from './descriptor-ring';
import { PacketPool, type PacketPoolOptions, type PoolSpace } from './packet-pool';
import type { QueueRegisters, Registers } from './registers';
import { RxQueue } from './rx-queue';
import { TxQueue } from './tx-queue';

export interface QueuePair<R extends number> {
  readonly pool: PacketPool;
  readonly rx: RxQueue<R>;
  readonly tx: TxQueue<R>;
}

export interface QueueOptions {
  /** Descriptors: powers of two. Default 1024 and 256. */
  readonly rxCount?: number;
  readonly txCount?: number;
  /**
   * Where buffers come from: a pool that is there, or what one is to be like. Default: one with a
   * buffer of 2048 bytes for each descriptor, and some for the program.
   */
  readonly pool?: PacketPool | PacketPoolOptions;
}

/** Buffers in the program's hands, beyond those in the rings. */
const SPARE = 256;

/** Not started. Their memory is freed as the address space closes, or the last device in it. */
export async function createQueues<R extends number>(
  registers: Registers<R>,
  queue: QueueRegisters<R>,
  dma: RingSpace & PoolSpace,
  { rxCount = 1024, txCount = 256, ...rest }: QueueOptions = {},
): Promise<QueuePair<R>> {
  const [rxRing, txRing] = [await allocateRing(dma, rxCount), await allocateRing(dma, txCount)];
  const { pool: wanted = { count: rxCount + txCount + SPARE } } = rest;
  const pool = wanted instanceof PacketPool ? wanted : await PacketPool.create(dma, wanted);
  return {
    pool,
    rx: new RxQueue(registers, queue.rxQueue, rxRing, pool, rxCount),
    tx: new TxQueue(registers, queue.txQueue, txRing, pool, txCount),
  };
}
