/** What a port and the worker threads on its queues have to agree on. */
import type { SharedMemoryId, SharedRegion } from 'vfio';
import { ringBytes } from './descriptor-ring';

export const RX_COUNT = 1024;
export const TX_COUNT = 256;
export const BUFFERS = RX_COUNT + TX_COUNT + 256;
const BUFFER_BYTES = 2048;

/** Memory that a worker divides up. */
export const WORKER_BYTES = ringBytes(RX_COUNT) + ringBytes(TX_COUNT) + BUFFERS * BUFFER_BYTES;

/** What a worker is told at its start. */
export interface QueueWorkerData {
  readonly queue: number;
  readonly bar0: SharedRegion;
  readonly memory: SharedMemoryId;
}

/** What a worker says: first its eventfd, for the vector of its queue; then its counts, when asked. */
export type QueueWorkerReport =
  | { readonly event: 'ready'; readonly fd: number }
  | { readonly event: 'counts'; readonly frames: number; readonly bytes: number };
