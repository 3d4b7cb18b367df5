/** An NVMe controller: initialisation (NVMe Base 2.0, 3.5.1), admin commands, abort and reset. */
import { setTimeout as delay } from 'node:timers/promises';
import { type Device, type DmaBuffer, type Region, Registers } from 'vfio';
import { type Command, Commands } from './commands';
import {
  type ControllerInfo,
  type NamespaceInfo,
  parseController,
  parseNamespace,
} from './identify-data';
import { PAGE } from './prp';
import { QueuePair } from './queue';
import { CC_ENABLE, CC_ENTRY_SIZES, CSTS_FATAL, CSTS_READY, REGISTERS } from './registers';
import { NvmeError } from './status';

// Admin opcodes (figure 138).
const CREATE_SQ = 0x01;
const CREATE_CQ = 0x05;
const IDENTIFY = 0x06;
const ABORT = 0x08;
const SET_FEATURES = 0x09;

const IDENTIFY_NAMESPACE = 0;
const IDENTIFY_CONTROLLER = 1;
const NUMBER_OF_QUEUES = 0x07;

const ADMIN_DEPTH = 32;
const ADMIN_TIMEOUT_MS = 10_000;
const ABORT_TIMEOUT_MS = 1_000;

export interface QueueOptions {
  /** Entries, at most CAP.MQES + 1. */
  readonly depth: number;
  /** MSI-X vector to signal completions by; without one, they are polled. */
  readonly vector?: number;
}

export class NvmeController {
  /** Admin commands; `reset` restarts its queue. */
  readonly admin: Commands;
  /** Resets so far. */
  resets = 0;
  private readonly registers: Registers;
  private readonly io: Array<{ readonly commands: Commands; readonly options: QueueOptions }> = [];
  private resetting: Promise<void> | undefined;

  private constructor(
    readonly device: Device,
    private readonly bar: Region,
    adminQueue: QueuePair,
    private readonly page: DmaBuffer,
  ) {
    this.registers = new Registers(bar);
    this.admin = new Commands(adminQueue, this.onTimeout);
  }

  /** Enable the controller behind an open device. @throws NvmeError */
  static async start(device: Device): Promise<NvmeController> {
    device.enableBusMaster();
    const bar = device.region('bar0');
    const position = { id: 0, depth: ADMIN_DEPTH, stride: bar.read32(REGISTERS.CAP_HIGH) & 0xf };
    const adminQueue = await QueuePair.create(bar, device.dma, position);
    const page = await device.dma.alloc(PAGE);
    const controller = new NvmeController(device, bar, adminQueue, page);
    await controller.enable();
    return controller;
  }

  async identify(): Promise<ControllerInfo> {
    await this.runIdentify(0, IDENTIFY_CONTROLLER);
    return parseController(this.page.u8);
  }

  async identifyNamespace(namespace = 1): Promise<NamespaceInfo> {
    await this.runIdentify(namespace, IDENTIFY_NAMESPACE);
    return parseNamespace(this.page.u8);
  }

  /** A new I/O queue pair (5.3, 5.4). Its vector, if any, is enabled by the caller. */
  async createQueue(options: QueueOptions): Promise<Commands> {
    const most = (this.registers.read(REGISTERS.CAP_LOW) & 0xffff) + 1;
    if (!(options.depth >= 2 && options.depth <= most)) {
      throw new NvmeError(`a queue of ${options.depth} entries`, -1, `from 2 to ${most}`);
    }
    const position = {
      id: this.io.length + 1,
      depth: options.depth,
      stride: this.admin.queue.position.stride,
    };
    const queue = await QueuePair.create(this.bar, this.device.dma, position);
    const commands = new Commands(queue, this.onTimeout);
    await this.announce(queue, options);
    this.io.push({ commands, options });
    return commands;
  }

  /** Disable and enable the controller, with all its queues; what was under way fails. */
  reset(): Promise<void> {
    this.resetting ??= this.runReset().finally(() => {
      this.resetting = undefined;
    });
    return this.resetting;
  }

  private async runReset(): Promise<void> {
    this.resets++;
    await this.disable();
    for (const { commands } of this.io) commands.queue.restart(commands);
    await this.enable();
    for (const { commands, options } of this.io) await this.announce(commands.queue, options);
  }

  private async enable(): Promise<void> {
    const { registers, admin } = this;
    await this.disable();
    admin.queue.restart(admin);
    const { depth } = admin.queue.position;
    registers.write(REGISTERS.AQA, ((depth - 1) << 16) | (depth - 1));
    registers.write(REGISTERS.ASQ_LOW, admin.queue.submission.iovaLo);
    registers.write(REGISTERS.ASQ_HIGH, admin.queue.submission.iovaHi);
    registers.write(REGISTERS.ACQ_LOW, admin.queue.completion.iovaLo);
    registers.write(REGISTERS.ACQ_HIGH, admin.queue.completion.iovaHi);
    registers.write(REGISTERS.CC, CC_ENTRY_SIZES | CC_ENABLE);
    await this.ready(CSTS_READY);
    const queues = { opcode: SET_FEATURES, dword10: NUMBER_OF_QUEUES, dword11: 0xfffe_fffe };
    await admin.run(queues, ADMIN_TIMEOUT_MS);
  }

  private async disable(): Promise<void> {
    this.registers.modify(REGISTERS.CC, CC_ENABLE, 0);
    await this.ready(0);
  }

  /** Wait for CSTS.RDY as long as CAP.TO allows, which counts in 500 ms. */
  private async ready(wanted: number): Promise<void> {
    const limit = Math.max(1, (this.registers.read(REGISTERS.CAP_LOW) >>> 24) & 0xff) * 500;
    const end = Date.now() + limit;
    for (;;) {
      const status = this.registers.read(REGISTERS.CSTS);
      if ((status & CSTS_READY) === wanted) return;
      if ((status & CSTS_FATAL) !== 0 && wanted !== 0) {
        throw new NvmeError('the controller reports a fatal error (CSTS.CFS)', -1);
      }
      if (Date.now() > end) throw new NvmeError(`CSTS.RDY did not change in ${limit} ms`, -1);
      await delay(1);
    }
  }

  private async announce(queue: QueuePair, { vector }: QueueOptions): Promise<void> {
    const { id, depth } = queue.position;
    const dword10 = ((depth - 1) << 16) | id;
    const interrupt = vector === undefined ? 0 : (vector << 16) | 2;
    await this.admin.run(
      { opcode: CREATE_CQ, data: queue.completion, bytes: 4, dword10, dword11: interrupt | 1 },
      ADMIN_TIMEOUT_MS,
    );
    await this.admin.run(
      { opcode: CREATE_SQ, data: queue.submission, bytes: 4, dword10, dword11: (id << 16) | 1 },
      ADMIN_TIMEOUT_MS,
    );
  }

  private async runIdentify(namespace: number, what: number): Promise<void> {
    const command: Command = { opcode: IDENTIFY, namespace, data: this.page, bytes: PAGE };
    await this.admin.run({ ...command, dword10: what }, ADMIN_TIMEOUT_MS);
  }

  /** Ask for an abort (5.1); if the command has not ended then, reset the controller. */
  private readonly onTimeout = (queue: QueuePair, id: number): void => {
    void this.abort(queue, id).catch(() => {
      // A reset that fails leaves the commands to the caller, who may close the device.
    });
  };

  private async abort(queue: QueuePair, id: number): Promise<void> {
    const commands =
      queue === this.admin.queue ? this.admin : this.io[queue.position.id - 1]?.commands;
    const dword10 = (id << 16) | queue.position.id;
    try {
      const refused = await this.admin.run({ opcode: ABORT, dword10 }, ABORT_TIMEOUT_MS);
      if ((refused & 1) === 0) await delay(10);
    } catch (error) {
      if (!(error instanceof NvmeError)) throw error;
    }
    if (commands?.pending(id)) await this.reset();
  }
}
