/** Read, write and flush (NVM Command Set 1.0, 3.2): for a hot path by ID, else as promises. */
import type { Commands } from './commands';
import type { NamespaceInfo } from './identify-data';
import { type DataAddress, MAX_TRANSFER } from './prp';
import { NvmeError } from './status';

const FLUSH = 0x00;
const WRITE = 0x01;
const READ = 0x02;
const TIMEOUT_MS = 5_000;
const NOWHERE: DataAddress = { iovaLo: 0, iovaHi: 0 };

/** A namespace by one queue. */
export class Namespace {
  constructor(
    readonly commands: Commands,
    readonly info: NamespaceInfo,
    readonly id = 1,
  ) {}

  /** Hot path: queue a read of `count` blocks from `lba` (< 2^53) to `data`. The command's ID or -1. */
  submitRead(lba: number, count: number, data: DataAddress, offset = 0): number {
    return this.submit(READ, lba, count, data, offset);
  }

  submitWrite(lba: number, count: number, data: DataAddress, offset = 0): number {
    return this.submit(WRITE, lba, count, data, offset);
  }

  submitFlush(): number {
    return this.commands.queue.submit(FLUSH, this.id, NOWHERE, 0, 0, 0, 0, 0);
  }

  async read(lba: number, count: number, data: DataAddress, offset = 0): Promise<void> {
    await this.run(READ, lba, count, data, offset);
  }

  async write(lba: number, count: number, data: DataAddress, offset = 0): Promise<void> {
    await this.run(WRITE, lba, count, data, offset);
  }

  async flush(): Promise<void> {
    await this.commands.run({ opcode: FLUSH, namespace: this.id }, TIMEOUT_MS);
  }

  private submit(
    opcode: number,
    lba: number,
    count: number,
    data: DataAddress,
    offset: number,
  ): number {
    return this.commands.queue.submit(
      opcode,
      this.id,
      data,
      offset,
      count * this.info.blockBytes,
      lba >>> 0,
      Math.floor(lba / 2 ** 32),
      count - 1,
    );
  }

  private async run(
    opcode: number,
    lba: number,
    count: number,
    data: DataAddress,
    offset: number,
  ): Promise<void> {
    const bytes = count * this.info.blockBytes;
    if (!(Number.isInteger(count) && count > 0 && bytes <= MAX_TRANSFER && offset % 4 === 0)) {
      throw new NvmeError(`${count} blocks at byte ${offset}`, -1, `up to ${MAX_TRANSFER} bytes`);
    }
    const dword11 = Math.floor(lba / 2 ** 32);
    await this.commands.run(
      {
        opcode,
        namespace: this.id,
        data,
        offset,
        bytes,
        dword10: lba >>> 0,
        dword11,
        dword12: count - 1,
      },
      TIMEOUT_MS,
    );
  }
}
