/** An NVMe controller: initialization, admin commands, I/O queues (base specification, 3.5 and 5). */
import { setTimeout } from 'node:timers/promises';
import type { Device, DmaBuffer, Region } from 'vfio';
import { type AdminCommand, AdminQueue } from './admin';
import {
  type ControllerIdentity,
  decodeController,
  decodeNamespace,
  decodeNamespaceList,
  IDENTIFY_BYTES,
  type NamespaceIdentity,
} from './identity';
import { QueuePair } from './queue';
import {
  Admin,
  type Capabilities,
  CC_EN,
  CC_ENTRY_SIZES,
  CNS_ACTIVE_NAMESPACES,
  CNS_CONTROLLER,
  CNS_NAMESPACE,
  COMPLETION_BYTES,
  CSTS_CFS,
  CSTS_RDY,
  FEATURE_QUEUES,
  PAGE,
  Reg,
  readCapabilities,
  SUBMISSION_BYTES,
} from './registers';
import { ControllerError } from './status';

const ADMIN_ENTRIES = 32;
const ADMIN_TIMEOUT_MS = 5_000;
/** The most I/O queues that are asked for. */
const WANTED_QUEUES = 64;
/** Create I/O Completion Queue: physically contiguous, interrupts enabled (5.4). */
const CONTIGUOUS = 1 << 0;
const INTERRUPTS = 1 << 1;

interface IoQueue {
  readonly pair: QueuePair;
  readonly vector: number | undefined;
}

export class Controller {
  readonly bar: Region;
  readonly capabilities: Capabilities;
  private readonly queues: IoQueue[] = [];
  private granted = 0;

  private constructor(
    readonly device: Device,
    private readonly adminPair: QueuePair,
    private readonly admin: AdminQueue,
    private readonly page: DmaBuffer,
  ) {
    this.bar = device.region('bar0');
    this.capabilities = readCapabilities(this.bar);
  }

  /** Reset and enable the controller. Its memory is freed as the device closes. */
  static async start(device: Device): Promise<Controller> {
    const bar = device.region('bar0');
    const { doorbellStride, minPage } = readCapabilities(bar);
    if (minPage > PAGE) throw new ControllerError(`memory pages of ${minPage} bytes at least`);
    const pair = new QueuePair(bar, {
      id: 0,
      entries: ADMIN_ENTRIES,
      doorbellStride,
      submission: await device.dma.alloc(ADMIN_ENTRIES * SUBMISSION_BYTES),
      completion: await device.dma.alloc(ADMIN_ENTRIES * COMPLETION_BYTES),
    });
    const admin = new AdminQueue(pair, ADMIN_TIMEOUT_MS);
    const controller = new Controller(device, pair, admin, await device.dma.alloc(IDENTIFY_BYTES));
    await controller.enable();
    return controller;
  }

  /** The most I/O queues (5.27.1.5). */
  get maxQueues(): number {
    return this.granted;
  }

  /** Whether the controller has given up (CSTS.CFS); only a reset helps. */
  get fatal(): boolean {
    const status = this.bar.read32(Reg.CSTS);
    // All ones: the device is gone from the bus.
    return (status & CSTS_CFS) !== 0 || status === 0xffff_ffff;
  }

  /** Run an admin command. @throws NvmeError, ControllerError */
  run(command: AdminCommand): Promise<number> {
    return this.admin.run(command);
  }

  async identify(): Promise<ControllerIdentity> {
    const data = await this.identifyData('Identify Controller', CNS_CONTROLLER, 0);
    return decodeController(data, this.capabilities.minPage);
  }

  async identifyNamespace(id: number): Promise<NamespaceIdentity> {
    return decodeNamespace(id, await this.identifyData('Identify Namespace', CNS_NAMESPACE, id));
  }

  /** Ids of the namespaces attached to this controller, at most 1024. */
  async namespaces(): Promise<number[]> {
    return decodeNamespaceList(
      await this.identifyData('Identify: active namespaces', CNS_ACTIVE_NAMESPACES, 0),
    );
  }

  /** A page of Identify data (5.17). */
  async identifyData(name: string, cns: number, namespace: number): Promise<Uint8Array> {
    await this.run({ name, opcode: Admin.IDENTIFY, namespace, data: this.page, words: [cns] });
    return this.page.u8.slice();
  }

  /**
   * Create an I/O queue pair (5.4, 5.5), which signals MSI-X `vector` if given, else is to be polled.
   * It comes back, empty, at each `reset`.
   */
  async createQueue(entries: number, vector?: number): Promise<QueuePair> {
    const id = this.queues.length + 1;
    if (id > this.granted) {
      throw new ControllerError(`no I/O queue ${id}`, `the controller grants ${this.granted}`);
    }
    const { maxEntries, doorbellStride } = this.capabilities;
    if (entries > maxEntries) {
      throw new ControllerError(`queue of ${entries} entries`, `at most ${maxEntries}`);
    }
    const { dma } = this.device;
    const pair = new QueuePair(this.bar, {
      id,
      entries,
      doorbellStride,
      submission: await dma.alloc(entries * SUBMISSION_BYTES),
      completion: await dma.alloc(entries * COMPLETION_BYTES),
    });
    const queue = { pair, vector };
    await this.announce(queue);
    this.queues.push(queue);
    return pair;
  }

  /** Ask the controller to abort a command (5.1). False if it does not; a command may complete all the same. */
  async abort(queue: QueuePair, slot: number): Promise<boolean> {
    const words = [queue.id | (slot << 16)];
    const result = await this.run({ name: 'Abort', opcode: Admin.ABORT, words });
    return (result & 1) === 0;
  }

  /** Controller reset (3.7.2): what was under way is gone, the I/O queues are created anew. */
  async reset(): Promise<void> {
    await this.enable();
    for (const queue of this.queues) {
      queue.pair.restart();
      await this.announce(queue);
    }
  }

  /** Disable the controller: it lets go of its memory. */
  async stop(): Promise<void> {
    this.bar.write32(Reg.CC, 0);
    await this.ready(0);
  }

  /** Initialization (3.5.1), from whatever state. */
  private async enable(): Promise<void> {
    const { bar, adminPair } = this;
    await this.stop();
    adminPair.restart();
    const size = adminPair.entries - 1;
    bar.write32(Reg.AQA, (size << 16) | size);
    bar.write64LoHi(Reg.ASQ, adminPair.submission.iovaLo, adminPair.submission.iovaHi);
    bar.write64LoHi(Reg.ACQ, adminPair.completion.iovaLo, adminPair.completion.iovaHi);
    this.device.enableBusMaster();
    bar.write32(Reg.CC, CC_ENTRY_SIZES | CC_EN);
    await this.ready(CSTS_RDY);
    this.granted = await this.askForQueues();
  }

  private async ready(wanted: number): Promise<void> {
    const { readyTimeout } = this.capabilities;
    const deadline = Date.now() + readyTimeout;
    while ((this.bar.read32(Reg.CSTS) & CSTS_RDY) !== wanted) {
      if (Date.now() > deadline) {
        const state = wanted ? 'ready' : 'disabled';
        throw new ControllerError(`the controller is not ${state} after ${readyTimeout} ms`);
      }
      await setTimeout(1);
    }
  }

  private async askForQueues(): Promise<number> {
    const wanted = WANTED_QUEUES - 1;
    const granted = await this.run({
      name: 'Set Features: Number of Queues',
      opcode: Admin.SET_FEATURES,
      words: [FEATURE_QUEUES, (wanted << 16) | wanted],
    });
    return Math.min(granted & 0xffff, granted >>> 16) + 1;
  }

  private async announce({ pair, vector }: IoQueue): Promise<void> {
    const size = ((pair.entries - 1) << 16) | pair.id;
    const interrupts = vector === undefined ? 0 : (vector << 16) | INTERRUPTS;
    await this.run({
      name: 'Create I/O Completion Queue',
      opcode: Admin.CREATE_COMPLETION_QUEUE,
      data: pair.completion,
      words: [size, CONTIGUOUS | interrupts],
    });
    await this.run({
      name: 'Create I/O Submission Queue',
      opcode: Admin.CREATE_SUBMISSION_QUEUE,
      data: pair.submission,
      words: [size, (pair.id << 16) | CONTIGUOUS],
    });
  }
}
