import { forgotten } from './forgotten';
import { type LiveMapping, type LiveMappings, standFor } from './live-mappings';

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
  readonly mappings: LiveMappings;
  close(live: LiveMapping): Promise<void>;
  suspend(live: LiveMapping): void;
  resume(live: LiveMapping): void;
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
  readonly #live: LiveMapping;
  readonly #control: MappingControl;

  /** Made by `AddressSpace`. */
  constructor(live: LiveMapping, control: MappingControl) {
    this.iova = live.iova;
    this.iovaLo = Number(live.iova & 0xffff_ffffn);
    this.iovaHi = Number(live.iova >> 32n);
    this.size = live.size;
    this.pageSize = live.pageSize;
    this.#live = live;
    this.#control = control;
    standFor(live, this);
    forgotten(this, live, control.mappings);
  }

  get closed(): boolean {
    return this.#live.closing !== undefined || this.#live.state === 'gone';
  }

  get suspended(): boolean {
    return this.#live.suspended;
  }

  /**
   * Take it away from the devices for now, as between two transfers: its IOVA stays its own. One system
   * call, which allocates nothing, as `resume` is; which pages were dirty is lost with it. Idempotent.
   * @throws ERR_VFIO_UNSUPPORTED for what `AddressSpace.map` has not made, for more than 2 MiB, and
   * without an IOMMU; EBUSY while an asynchronous operation on it is under way (`dirty.last`,
   * `updateVaddr`, or the first device of the space being opened); ERR_VFIO_CLOSED
   */
  suspend(): void {
    this.#control.suspend(this.#live);
  }

  /**
   * Let the devices have it again. Idempotent.
   * @throws as `suspend`, and ENOMEM (memory, or RLIMIT_MEMLOCK); it stays suspended then
   */
  resume(): void {
    this.#control.resume(this.#live);
  }

  /** Take it away from the devices. Idempotent. */
  close(): Promise<void> {
    return this.#control.close(this.#live);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
