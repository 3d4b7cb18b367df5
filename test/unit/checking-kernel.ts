/**
 * A space of the kernel that takes its time, and checks what it is asked as the real one does: whatever a
 * correct library never asks for is noted as a fault, whether or not the library copes with the answer.
 */
import { constants } from 'node:os';
import type { DirtyTracking, DmaBackend, Geometry, PreparedMapping } from '../../src/dma/backend';
import { noIommu } from '../../src/dma/backend';
import { systemError } from '../../src/errors';
import type { FakeKernel } from './fake-kernel';

const PAGE = 4096n;
/** So few that addresses are soon used again. */
export const PAGES = 48;

interface Mapped {
  readonly size: bigint;
  readonly vaddr: bigint;
}

export class CheckingKernel implements DmaBackend {
  readonly name = 'type1v2';
  readonly accounting = 'process';
  readonly mapped = new Map<bigint, Mapped>();
  /** What it would not unmap. */
  readonly refused = new Map<bigint, bigint>();
  readonly faults: string[] = [];
  closed = false;
  /** How often a map or unmap is refused. */
  refusals: number;
  readonly #random: () => number;
  readonly #memory: FakeKernel;
  /** Whether it has an IOMMU, which the library learns later. */
  #iommu = false;
  #geometry: Geometry | undefined;
  #tracking = false;
  #dropped = () => {};
  readonly #farewells = new Map<number, bigint>();

  constructor(random: () => number, memory: FakeKernel, refusals: number) {
    this.#random = random;
    this.#memory = memory;
    this.refusals = refusals;
  }

  readonly dirty: DirtyTracking = {
    start: async () => {
      await this.#begin('dirty start');
      this.#tracking = true;
    },
    stop: async () => {
      await this.#begin('dirty stop');
      this.#tracking = false;
    },
    read: async (iova, size) => this.#bitmap(iova, size),
    readAndUnmap: async (iova, size) => {
      const bitmap = await this.#bitmap(iova, size);
      this.#unmap(iova, size);
      return bitmap;
    },
  };

  onDropped(listener: () => void): void {
    this.#dropped = listener;
  }

  geometry(): Geometry | undefined {
    return this.#geometry;
  }

  readonly attach = async (): Promise<void> => {
    await this.#begin('attach');
    if (!this.#iommu) this.#drop();
    this.#iommu = true;
    await this.#pause();
    this.#geometry = {
      iovaRanges: [{ start: 0n, end: BigInt(PAGES) * PAGE - 1n }],
      pageSizes: PAGE,
    };
    await this.#pause();
  };

  /** The last group leaves. */
  readonly detach = async (): Promise<void> => {
    await this.#begin('detach');
    this.unplug();
    await this.#pause();
    this.#drop();
    await this.#pause();
  };

  /** The kernel drops its IOMMU by itself. */
  unplug(): void {
    this.#iommu = false;
    this.mapped.clear();
    this.refused.clear();
  }

  get iommu(): boolean {
    return this.#iommu;
  }

  async map(vaddr: bigint, iova: bigint, size: bigint): Promise<void> {
    this.#checkMemory(vaddr);
    await this.#begin('map');
    if (!this.#iommu) {
      this.#drop();
      throw noIommu();
    }
    if (this.#random() < this.refusals) throw errno('ENOMEM', 'map');
    this.#map(vaddr, iova, size);
    this.#checkMemory(vaddr);
    await this.#pause();
  }

  prepare(vaddr: bigint, iova: bigint, size: bigint): PreparedMapping {
    return {
      map: () => {
        this.#assertAlive('resume');
        if (!this.#iommu) throw errno('EINVAL', 'resume');
        if (this.#random() < this.refusals) throw errno('ENOMEM', 'resume');
        this.#map(vaddr, iova, size);
      },
      unmap: () => {
        this.#assertAlive('suspend');
        if (!this.#iommu) throw errno('EINVAL', 'suspend');
        if (this.#unmap(iova, size) !== size) this.#fault(`suspend of 0x${iova.toString(16)}`);
      },
    };
  }

  async updateVaddr(vaddr: bigint, iova: bigint, size: bigint): Promise<void> {
    await this.#begin('update');
    if (!this.#iommu) throw errno('EINVAL', 'update');
    if (this.mapped.get(iova)?.size !== size) {
      this.#fault(`update of 0x${iova.toString(16)}`);
      throw errno('EINVAL', 'update');
    }
    this.mapped.set(iova, { size, vaddr });
    await this.#pause();
  }

  async unmap(iova: bigint, size: bigint): Promise<bigint> {
    await this.#begin('unmap');
    if (!this.#iommu) {
      this.#drop();
      return size;
    }
    if (this.#random() < this.refusals) {
      this.refused.set(iova, size);
      throw errno('EIO', 'unmap');
    }
    this.refused.delete(iova);
    const unmapped = this.#unmap(iova, size);
    if (unmapped !== size) this.#fault(`unmap of ${size} at 0x${iova.toString(16)}: ${unmapped}`);
    await this.#pause();
    return unmapped;
  }

  async unmapAll(): Promise<bigint> {
    await this.#begin('unmap all');
    if (!this.#iommu) throw errno('EINVAL', 'unmap all');
    if (this.#random() < this.refusals) throw errno('EIO', 'unmap all');
    this.refused.clear();
    let bytes = 0n;
    for (const { size } of this.mapped.values()) bytes += size;
    this.mapped.clear();
    await this.#pause();
    return bytes;
  }

  farewell(iova: bigint, _size: bigint, memory: Uint8Array): number {
    const id = this.#memory.native.farewellRequest(0, 0, memory, memory);
    this.#farewells.set(id, iova);
    return id;
  }

  /** IOVAs that would be unmapped if the thread ended. */
  farewells(): bigint[] {
    const ids = [...this.#memory.farewells];
    return ids.map((id) => this.#farewells.get(id)!);
  }

  entriesLeft(): undefined {
    return undefined;
  }

  close(): void {
    if (this.closed) this.#fault('closed twice');
    if (this.#iommu) this.#fault('closed with a device inside');
    this.closed = true;
  }

  #map(vaddr: bigint, iova: bigint, size: bigint): void {
    for (const [other, { size: length }] of this.mapped) {
      if (other >= iova + size || iova >= other + length) continue;
      this.#fault(`EEXIST at 0x${iova.toString(16)}`);
      throw errno('EEXIST', 'map');
    }
    if (iova + size > BigInt(PAGES) * PAGE) this.#fault('outside');
    this.mapped.set(iova, { size, vaddr });
  }

  #unmap(iova: bigint, size: bigint): bigint {
    let bytes = 0n;
    for (const [at, { size: length }] of [...this.mapped]) {
      if (at + length <= iova || at >= iova + size) continue;
      if (at < iova || at + length > iova + size) {
        this.#fault(`part of the mapping at 0x${at.toString(16)}`);
        throw errno('EINVAL', 'unmap');
      }
      bytes += length;
      this.mapped.delete(at);
    }
    return bytes;
  }

  async #bitmap(iova: bigint, size: bigint): Promise<Uint8Array<ArrayBuffer>> {
    await this.#begin('dirty read');
    await this.#pause();
    if (!this.#tracking || !this.#iommu) throw errno('EINVAL', 'dirty read');
    if (!this.mapped.has(iova)) throw errno('ENOENT', 'dirty read');
    return new Uint8Array(Math.ceil(Number(size / PAGE) / 64) * 8);
  }

  async #begin(what: string): Promise<void> {
    this.#assertAlive(what);
    await this.#pause();
    this.#assertAlive(what);
  }

  #assertAlive(what: string): void {
    if (this.closed) this.#fault(`${what} on a closed descriptor`);
    const needsIommu = /map|update|suspend|resume/.test(what);
    if (needsIommu && !this.#geometry && this.#iommu) this.#fault(`${what} before it is attached`);
  }

  /** Ranges of the fake are at their id, times 2^32. */
  #checkMemory(vaddr: bigint): void {
    const length = this.#memory.native.rangeLength(Number(vaddr >> 32n));
    if (length === 0) this.#fault(`map of released memory at 0x${vaddr.toString(16)}`);
  }

  #drop(): void {
    this.#geometry = undefined;
    this.#dropped();
  }

  #fault(what: string): void {
    this.faults.push(what);
  }

  async #pause(): Promise<void> {
    const turns = Math.floor(this.#random() * 4);
    if (turns === 3) await new Promise(setImmediate);
    else for (let i = 0; i < turns; i++) await undefined;
  }
}

function errno(name: 'EEXIST' | 'EINVAL' | 'EIO' | 'ENOENT' | 'ENOMEM', what: string) {
  return systemError(-constants.errno[name], what, { syscall: 'ioctl' });
}
