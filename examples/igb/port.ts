/**
 * Driver of a port without VFs, for programs that move frames: any number of queues, by polling or
 * interrupts. `PfDriver` is the one for a PF with VFs.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Device, type EventfdHandle, type OpenOptions, openDevice } from 'vfio';
import { DriverError } from './errors';
import { type Mac, macFromWords } from './mac';
import { assert82576, PF_DEVICE_ID } from './pci-id';
import { restartAutonegotiation } from './phy';
import { PortFilters } from './port-filters';
import { createQueues, type QueueOptions, type QueuePair } from './queue-pair';
import {
  CTRL_SLU,
  CTRL_VME,
  eitr,
  GPIE_EIAME,
  GPIE_MSIX_MODE,
  GPIE_NSICR,
  GPIE_PBA,
  IVAR_VALID,
  ivarOf,
  MAX_JUMBO_FRAME,
  Pf,
  type PfRegister,
  QUEUE_ENABLE,
  RCTL_BAM,
  RCTL_EN,
  RCTL_LPE,
  RCTL_SECRC,
  Registers,
  STATUS_LU,
  TCTL_EN,
  TCTL_PSP,
} from './registers';
import { resetPort } from './reset';
import { spreadFlows } from './rss';
import { PfCounters, type PfStatistics } from './statistics';

export const MAX_QUEUES = 16;
const RX_INTERVAL_US = 50;
const LINK_POLL_MS = 10;

/** A pool that is given is in the address space in which the device is opened. */
export interface PortOptions extends OpenOptions, QueueOptions {
  /** Pairs of queues, 0 to 16; frames are spread over them by flow. Default 1; 0 for `spread`. */
  readonly queues?: number;
}

export class IgbPort implements AsyncDisposable {
  readonly mac: Mac;
  readonly filters: PortFilters;
  private readonly counters: PfCounters;

  private constructor(
    readonly device: Device,
    private readonly registers: Registers<PfRegister>,
    readonly queues: ReadonlyArray<QueuePair<PfRegister>>,
  ) {
    this.mac = macFromWords(registers.read(Pf.RAL(0)), registers.read(Pf.RAH(0)));
    this.filters = new PortFilters(registers, this.mac);
    this.counters = new PfCounters(registers, [...Array(MAX_QUEUES).keys()]);
  }

  /** Open the port and bring it up; the link follows (`linkUp`). @throws VfioError, DriverError */
  static async open(bdf: string, options: PortOptions = {}): Promise<IgbPort> {
    const { queues: count = 1 } = options;
    assertQueues(count, 0);
    const device = await openDevice(bdf, options);
    try {
      assert82576(device, PF_DEVICE_ID);
      const registers = new Registers<PfRegister>(device.region('bar0'));
      await resetPort(registers);
      const queues: QueuePair<PfRegister>[] = [];
      for (let n = 0; n < count; n++) {
        queues.push(await createQueues(registers, Pf.queue(n), device.dma, options));
      }
      const port = new IgbPort(device, registers, queues);
      await port.start();
      return port;
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  get linkUp(): boolean {
    return (this.registers.read(Pf.STATUS) & STATUS_LU) !== 0;
  }

  /** @throws DriverError after `timeoutMs` without link, and the reason of `signal` */
  async waitForLink(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!this.linkUp) {
      if (Date.now() >= deadline) {
        throw new DriverError(`${this.device.bdf} has no link`, 'is a cable in the port?');
      }
      await delay(LINK_POLL_MS, undefined, signal ? { signal } : {});
    }
  }

  statistics(): PfStatistics {
    return this.counters.read();
  }

  /**
   * Have queue n signal MSI-X vector n when frames have come, or have gone: at most every 50 us.
   * Without this, the queues are polled.
   */
  async listen(listener: (queue: number) => void): Promise<void> {
    const { device, queues } = this;
    const msix = device.irq('msix');
    msix.on(({ vector }) => listener(vector));
    await msix.enable({ first: 0, count: queues.length });
    for (const n of queues.keys()) this.routeInterrupts(n);
  }

  /** Spread flows over queues 0 to `count - 1`, which others drive: worker threads. */
  spread(count: number): void {
    assertQueues(count, 1);
    spreadFlows(this.registers, count);
  }

  /** Have queue n signal an eventfd by vector n. The highest queue first: vectors are made up to it. */
  async handOver(queue: number, eventfd: EventfdHandle): Promise<void> {
    await this.device.irq('msix').handOver(queue, eventfd);
    this.routeInterrupts(queue);
  }

  /** Stop a queue that somebody else drove, and its interrupts: nothing of its memory is used any more. */
  async stopQueue(queue: number): Promise<void> {
    const { device, registers } = this;
    if (device.closed) return;
    const { rxQueue, txQueue } = Pf.queue(queue);
    registers.write(Pf.EIMC, 1 << queue);
    registers.clear(rxQueue.RXDCTL, QUEUE_ENABLE);
    registers.clear(txQueue.TXDCTL, QUEUE_ENABLE);
    await device.irq('msix').remove([queue]);
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const { device, registers } = this;
    if (device.closed) return;
    try {
      registers.write(Pf.RCTL, 0);
      registers.write(Pf.TCTL, TCTL_PSP);
      await resetPort(registers);
    } finally {
      await device.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async start(): Promise<void> {
    const { device, registers, queues } = this;
    this.filters.initialize();
    if (queues.length > 1) spreadFlows(registers, queues.length);
    device.enableBusMaster();
    registers.write(Pf.TCTL, registers.read(Pf.TCTL) | TCTL_EN | TCTL_PSP);
    for (const { rx, tx } of queues) {
      rx.start();
      tx.start();
    }
    registers.write(Pf.RLPML, MAX_JUMBO_FRAME);
    registers.write(Pf.RCTL, RCTL_EN | RCTL_BAM | RCTL_LPE | RCTL_SECRC);
    registers.set(Pf.CTRL, CTRL_SLU | CTRL_VME);
    await restartAutonegotiation(registers);
  }

  private routeInterrupts(queue: number): void {
    const { registers } = this;
    registers.write(Pf.GPIE, GPIE_NSICR | GPIE_MSIX_MODE | GPIE_EIAME | GPIE_PBA);
    const { index, shift } = ivarOf(queue);
    const cause = queue | IVAR_VALID;
    const others = registers.read(Pf.IVAR(index)) & ~(0xffff << shift);
    registers.write(Pf.IVAR(index), others | ((cause | (cause << 8)) << shift));
    registers.write(Pf.EITR(queue), eitr(RX_INTERVAL_US));
    registers.set(Pf.EIAC, 1 << queue);
    registers.write(Pf.EIMS, 1 << queue);
  }
}

function assertQueues(count: number, least: number): void {
  if (Number.isInteger(count) && count >= least && count <= MAX_QUEUES) return;
  throw new DriverError(`${count} queues`, `${least} to ${MAX_QUEUES}`);
}
