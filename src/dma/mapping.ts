import { closedError } from '../errors';
import type { PreparedMapping } from './backend';

/** Bytes at IOVAs `iova` to `iova + size - 1`: those of a mapping, or any others. */
export interface IovaSpan {
  readonly iova: bigint;
  readonly size: number;
}

/** A span, and the pages of the memory behind it in bytes. */
export interface PagedSpan extends IovaSpan {
  readonly pageSize: number;
}

/** What the address space does to a mapping. */
export interface MappingControl {
  close(): Promise<void>;
  prepared(): PreparedMapping;
}

/** Memory that devices reach at `iova`, until it is closed. */
export class DmaMapping implements AsyncDisposable {
  readonly iova: bigint;
  /** The halves of `iova`, for descriptors: a hot path needs no bigint. */
  readonly iovaLo: number;
  readonly iovaHi: number;
  readonly size: number;
  /** Of the memory behind: 4096, or that of huge pages. */
  readonly pageSize: number;
  readonly #control: MappingControl;
  #suspended = false;
  #closing: Promise<void> | undefined;

  /** Made by `AddressSpace`. */
  constructor(at: PagedSpan, control: MappingControl) {
    this.iova = at.iova;
    this.iovaLo = Number(at.iova & 0xffff_ffffn);
    this.iovaHi = Number(at.iova >> 32n);
    this.size = at.size;
    this.pageSize = at.pageSize;
    this.#control = control;
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  get suspended(): boolean {
    return this.#suspended;
  }

  /**
   * Take it away from the devices for now, as between two transfers: its IOVA stays its own. One system
   * call, which allocates nothing, as `resume` is; which pages were dirty is lost with it. Idempotent.
   * @throws ERR_VFIO_UNSUPPORTED for what `AddressSpace.map` has not made, for more than 2 MiB, and
   * without an IOMMU; ERR_VFIO_CLOSED
   */
  suspend(): void {
    if (this.#closing) throw closedError('DMA mapping');
    if (this.#suspended) return;
    this.#control.prepared().unmap();
    this.#suspended = true;
  }

  /** Let the devices have it again. Idempotent. @throws ENOMEM (memory, or RLIMIT_MEMLOCK); it stays suspended then */
  resume(): void {
    if (this.#closing) throw closedError('DMA mapping');
    if (!this.#suspended) return;
    this.#control.prepared().map();
    this.#suspended = false;
  }

  /** Take it away from the devices. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#control.close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
