/** A driver for the first namespace of an NVMe controller: several queues, timeouts, recovery. */
import { setTimeout } from 'node:timers/promises';
import { type Device, type DmaBuffer, type OpenOptions, openDevice } from 'vfio';
import { Controller } from './controller';
import type { ControllerIdentity, NamespaceIdentity } from './identity';
import { IoQueue } from './io-queue';
import { DataPointer, MAX_TRANSFER, needsList } from './prp';
import { PAGE } from './registers';
import { Requests } from './requests';
import { ControllerError, NvmeError } from './status';

/** How long a command that is being aborted may still take. */
const ABORT_GRACE_MS = 500;

export interface DriverOptions extends OpenOptions {
  /** I/O queue pairs. Default 1. */
  readonly queues?: number;
  /** Entries of each, a power of two. Default 64. */
  readonly entries?: number;
  /** How completions are found. Default 'msix': queue n signals vector n. */
  readonly completion?: 'msix' | 'polling';
  /** After which a command is aborted, and the controller reset if that does not help. Default 5 s. */
  readonly timeoutMs?: number;
}

/** Memory for blocks, and how commands point to it. */
export interface IoBuffer {
  readonly memory: DmaBuffer;
  readonly pointer: DataPointer;
}

export class NvmeDriver implements AsyncDisposable {
  readonly identity: ControllerIdentity;
  readonly namespace: NamespaceIdentity;
  /** Controller resets after a timeout or a fatal status. */
  resets = 0;
  private readonly requests: Requests[] = [];
  private readonly watchdog: NodeJS.Timeout;
  private next = 0;
  private recovering: Promise<void> | undefined;

  private constructor(
    readonly controller: Controller,
    identity: ControllerIdentity,
    namespace: NamespaceIdentity,
    timeoutMs: number,
  ) {
    this.identity = identity;
    this.namespace = namespace;
    this.watchdog = setInterval(() => this.watch(), Math.max(10, timeoutMs / 4)).unref();
  }

  /** @throws VfioError, NvmeError, ControllerError */
  static async open(bdf: string, options: DriverOptions = {}): Promise<NvmeDriver> {
    const device = await openDevice(bdf, options);
    try {
      return await NvmeDriver.start(device, options);
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  private static async start(device: Device, options: DriverOptions): Promise<NvmeDriver> {
    const { queues = 1, entries = 64, completion = 'msix', timeoutMs = 5_000 } = options;
    const controller = await Controller.start(device);
    const identity = await controller.identify();
    const [id] = await controller.namespaces();
    if (id === undefined) throw new ControllerError('the controller has no namespace');
    const namespace = await controller.identifyNamespace(id);
    if (namespace.metadataBytes !== 0) {
      throw new ControllerError(`namespace ${id} has metadata`, 'format it without');
    }
    const interrupts = completion === 'msix';
    const irq = device.irq('msix');
    if (interrupts) await irq.enable({ first: 0, count: queues + 1 });
    const driver = new NvmeDriver(controller, identity, namespace, timeoutMs);
    for (let n = 1; n <= queues; n++) {
      const pair = await controller.createQueue(entries, interrupts ? n : undefined);
      const queue = new IoQueue(pair, id, namespace.blockBytes);
      driver.requests.push(new Requests(queue, timeoutMs, interrupts));
    }
    if (interrupts) irq.on(({ vector }) => driver.requests[vector - 1]?.reap());
    return driver;
  }

  /** The queues, for a caller that drives them itself; not along with `read`, `write` and `flush`. */
  get queues(): IoQueue[] {
    return this.requests.map(({ queue }) => queue);
  }

  /** The most bytes of one command. */
  get maxTransfer(): number {
    return Math.min(MAX_TRANSFER, this.identity.maxTransfer);
  }

  /** Memory of `bytes` bytes, at most `maxTransfer`, freed as the driver closes. */
  async allocate(bytes: number): Promise<IoBuffer> {
    if (!(bytes >= 1 && bytes <= this.maxTransfer)) {
      throw new RangeError(`buffer of ${bytes} bytes: 1 to ${this.maxTransfer}`);
    }
    const { dma } = this.controller.device;
    const memory = await dma.alloc(bytes);
    const data = { iova: memory.iova, size: bytes };
    const list = needsList(data.iova, bytes) ? await dma.alloc(PAGE) : undefined;
    return { memory, pointer: new DataPointer(data, list) };
  }

  /** Read `blocks` blocks from block `lba` on. @throws NvmeError, ControllerError */
  read(lba: number, blocks: number, { pointer }: IoBuffer): Promise<void> {
    const name = `read of ${blocks} blocks at ${lba}`;
    return this.run(name, (queue) => queue.read(lba, blocks, pointer));
  }

  /** As `read`. What is written may be in a cache until `flush`. */
  write(lba: number, blocks: number, { pointer }: IoBuffer): Promise<void> {
    const name = `write of ${blocks} blocks at ${lba}`;
    return this.run(name, (queue) => queue.write(lba, blocks, pointer));
  }

  flush(): Promise<void> {
    return this.run('flush', (queue) => queue.flush());
  }

  /** Shut down in an orderly way and close the device. Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.watchdog);
    const { device } = this.controller;
    if (device.closed) return;
    try {
      await this.recovering;
      await this.controller.stop();
    } finally {
      for (const requests of this.requests) requests.fail('the driver was closed');
      await device.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** On the queues in turn. */
  private async run(name: string, submit: (queue: IoQueue) => number): Promise<void> {
    await this.recovering;
    this.next = (this.next + 1) % this.requests.length;
    await this.requests[this.next]!.run(name, submit);
  }

  private watch(): void {
    if (this.recovering || this.controller.device.closed) return;
    const now = Date.now();
    for (const requests of this.requests) {
      const slot = requests.late(now);
      if (slot < 0) continue;
      this.recovering = this.recover(requests, slot).finally(() => {
        this.recovering = undefined;
      });
      return;
    }
  }

  /** A completion may have come without its interrupt; then abort; then reset the controller. */
  private async recover(requests: Requests, slot: number): Promise<void> {
    let outcome = 'no completion in time; the controller was reset';
    try {
      requests.reap();
      if (!requests.isPending(slot)) return;
      if (!this.controller.fatal && (await this.abort(requests, slot))) return;
      await this.controller.reset();
      this.resets++;
    } catch (error) {
      outcome = `no completion in time, and the recovery failed: ${(error as Error).message}`;
    }
    for (const each of this.requests) each.fail(outcome);
  }

  /** Whether the command is off the queue. */
  private async abort(requests: Requests, slot: number): Promise<boolean> {
    try {
      if (!(await this.controller.abort(requests.queue.pair, slot))) return false;
    } catch (error) {
      if (error instanceof NvmeError || error instanceof ControllerError) return false;
      throw error;
    }
    await setTimeout(ABORT_GRACE_MS);
    requests.reap();
    return !requests.isPending(slot);
  }
}
