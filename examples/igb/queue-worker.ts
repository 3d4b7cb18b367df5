/**
 * A worker thread with a pair of queues of its own on a port that the main thread has open. Registers
 * and memory come by their numbers, never as ArrayBuffers; queues, pool and vector are this thread's.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { attachMemory, attachRegion, EventfdWatch } from 'vfio';
import { createQueues } from './queue-pair';
import { Pf, type PfRegister, Registers } from './registers';
import {
  BUFFERS,
  type QueueWorkerData,
  type QueueWorkerReport,
  RX_COUNT,
  TX_COUNT,
} from './worker-protocol';

const BURST = 32;

async function work({ queue, bar0, memory }: QueueWorkerData): Promise<void> {
  const port = parentPort!;
  const report = (message: QueueWorkerReport) => port.postMessage(message);
  const registers = new Registers<PfRegister>(attachRegion(bar0));
  const options = { rxCount: RX_COUNT, txCount: TX_COUNT, pool: { count: BUFFERS } };
  const area = attachMemory(memory);
  const { rx, tx, pool } = await createQueues(registers, Pf.queue(queue), area, options);
  rx.start();
  tx.start();
  const ids = new Uint32Array(BURST);
  const drain = () => {
    for (let count = BURST; count === BURST; ) {
      count = rx.rxBurst(ids, BURST);
      pool.buffers.giveIndices(ids, 0, count);
    }
  };
  report({ event: 'ready', fd: new EventfdWatch(drain).fd });
  port.on('message', () => {
    drain();
    report({ event: 'counts', frames: rx.packets, bytes: rx.bytes });
  });
}

void work(workerData as QueueWorkerData);
