/** Bytes at IOVAs `iova` to `iova + size - 1`: those of a mapping, or any others. */
export interface IovaSpan {
  readonly iova: bigint;
  readonly size: number;
}

/** A span, and the pages of the memory behind it in bytes. */
export interface PagedSpan extends IovaSpan {
  readonly pageSize: number;
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
  readonly #unmap: () => Promise<void>;
  #closing: Promise<void> | undefined;

  /** Made by `AddressSpace`. */
  constructor(at: PagedSpan, unmap: () => Promise<void>) {
    this.iova = at.iova;
    this.iovaLo = Number(at.iova & 0xffff_ffffn);
    this.iovaHi = Number(at.iova >> 32n);
    this.size = at.size;
    this.pageSize = at.pageSize;
    this.#unmap = unmap;
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /** Take it away from the devices. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#unmap();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
