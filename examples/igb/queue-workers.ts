/** A port's queues, one worker thread each: started, watched, and cleaned up after. */
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { DmaBuffer } from 'vfio';
import { IgbPort, type PortOptions } from './port';
import { type QueueWorkerData, type QueueWorkerReport, WORKER_BYTES } from './worker-protocol';

export interface QueueCounts {
  readonly frames: number;
  readonly bytes: number;
}

interface Seat {
  /** Outlives its workers: the device may still write to it when one ends. */
  readonly memory: DmaBuffer;
  worker: Worker | undefined;
  /** Once the worker is gone, and its queue stopped. */
  ended: Promise<void>;
}

export class QueueWorkers {
  /** A worker has ended on its own, by an error or otherwise; its queue is stopped. */
  onEnd: (queue: number, error: Error | undefined) => void = () => {};
  private readonly seats: Seat[] = [];

  private constructor(
    readonly port: IgbPort,
    private readonly script: string,
  ) {}

  /**
   * Open a port and give each of `count` queues a thread.
   * @param script the compiled queue-worker.js
   */
  static async open(
    bdf: string,
    count: number,
    options: PortOptions = {},
    script = join(__dirname, 'queue-worker.js'),
  ): Promise<QueueWorkers> {
    const port = await IgbPort.open(bdf, { ...options, queues: 0 });
    const workers = new QueueWorkers(port, script);
    try {
      port.spread(count);
      for (let queue = 0; queue < count; queue++) {
        const memory = await port.device.dma.alloc(WORKER_BYTES);
        workers.seats.push({ memory, worker: undefined, ended: Promise.resolve() });
      }
      for (let queue = count - 1; queue >= 0; queue--) await workers.start(queue);
      return workers;
    } catch (error) {
      await workers.close();
      throw error;
    }
  }

  /** Put a thread on a queue that has none: at first, or after one has ended. @throws what it throws */
  async start(queue: number): Promise<void> {
    const seat = this.seats[queue]!;
    await seat.ended;
    const bar0 = this.port.device.region('bar0').share();
    const workerData: QueueWorkerData = { queue, bar0, memory: seat.memory.share() };
    const worker = new Worker(this.script, { workerData });
    seat.worker = worker;
    let failure: Error | undefined;
    worker.on('error', (error) => {
      failure = error;
    });
    const exit = new Promise((resolve) => worker.once('exit', resolve));
    seat.ended = exit.then(async () => {
      seat.worker = undefined;
      await this.port.stopQueue(queue);
      this.onEnd(queue, failure);
    });
    const report = await this.answer(worker);
    if (report.event === 'ready') await this.port.handOver(queue, { fd: report.fd });
  }

  /** Of the queue's worker; undefined if it has none. */
  async counts(queue: number): Promise<QueueCounts | undefined> {
    const { worker } = this.seats[queue]!;
    if (!worker) return undefined;
    worker.postMessage('counts');
    const report = await this.answer(worker);
    return report.event === 'counts' ? report : undefined;
  }

  /** End the queue's worker, wherever it is; the others go on. */
  async terminate(queue: number): Promise<void> {
    const seat = this.seats[queue]!;
    await seat.worker?.terminate();
    await seat.ended;
  }

  /** End all workers, then close the port. */
  async close(): Promise<void> {
    this.onEnd = () => {};
    await Promise.all(this.seats.map((_, queue) => this.terminate(queue)));
    await this.port.close();
  }

  /** The worker's next message. @throws what ended it instead */
  private async answer(worker: Worker): Promise<QueueWorkerReport> {
    const done = new AbortController();
    const { signal } = done;
    const ended = once(worker, 'exit', { signal }).then(() => {
      throw new Error('the worker has ended');
    });
    try {
      const [report] = await Promise.race([once(worker, 'message', { signal }), ended]);
      return report as QueueWorkerReport;
    } finally {
      done.abort();
    }
  }
}
