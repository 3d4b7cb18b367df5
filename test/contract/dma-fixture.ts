/** An address space on the real kernel with edu inside to try it, and memory without a library around it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressSpace, type Device, openDevice } from 'vfio';
import type { DmaBackend } from '../../src/dma/backend';
import { allocateMemory, type HugePageSize, type Memory } from '../../src/dma/memory';
import { native } from '../../src/native';
import type { Mode } from '../vm/dma-modes';
import { findDevice } from '../vm/lab-devices';

export const PAGE = 4096;
export const MiB = 1 << 20;
export const GiB = 1 << 30;

export const code = (expected: string) =>
  expect.objectContaining({ name: 'VfioError', code: expected });

const hugePages = (size: number, file: string) =>
  `/sys/kernel/mm/hugepages/hugepages-${size >> 10}kB/${file}`;

/** 2 MiB pages are made; 1 GiB in one piece is to be had only as the kernel boots: npm test asks for it. */
export function provideHugePages(): void {
  writeFileSync(hugePages(2 * MiB, 'nr_hugepages'), '16');
}

export function assertHugePage(size: HugePageSize): void {
  if (Number(readFileSync(hugePages(size, 'free_hugepages'), 'utf8')) > 0) return;
  throw new Error(`no free huge page of ${size} bytes: boot with hugepagesz=1G hugepages=1`);
}

export class DmaFixture {
  readonly #memories: Memory[] = [];

  private constructor(
    readonly space: AddressSpace,
    readonly edu: Device,
  ) {}

  static async open({ open }: Mode): Promise<DmaFixture> {
    const space = open();
    const edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
    edu.enableBusMaster();
    return new DmaFixture(space, edu);
  }

  /** What is below the library. */
  get kernel(): DmaBackend {
    return this.space.kernelSpace;
  }

  /** The process' address of memory that is not mapped for devices. */
  memory(size: number, huge?: HugePageSize): bigint {
    const memory = allocateMemory(size, huge ? 'require' : 'no', huge);
    this.#memories.push(memory);
    return native.rangeAddress(memory.range) as bigint;
  }

  async close(): Promise<void> {
    await this.edu.close();
    await this.space.close();
    for (const { range } of this.#memories.splice(0)) native.rangeRelease(range);
  }
}
