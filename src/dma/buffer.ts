import { closedError } from '../errors';
import type { SharedMemoryId } from './attached-memory';
import { forgotten } from './forgotten';
import { type LiveMapping, standFor } from './live-mappings';
import type { MappingControl } from './mapping';

/**
 * Memory of process and devices. Ordinary cached memory: plain typed-array access is right, except
 * for words that a device changes while they are read (`Atomics.load` on `u32`).
 */
export class DmaBuffer implements AsyncDisposable {
  readonly iova: bigint;
  /** The halves of `iova`, for descriptors: a hot path needs no bigint. */
  readonly iovaLo: number;
  readonly iovaHi: number;
  readonly size: number;
  /** Of the memory behind: 4096, or that of huge pages. */
  readonly pageSize: number;
  readonly #live: LiveMapping;
  readonly #control: MappingControl;
  readonly #u8: Uint8Array<ArrayBuffer>;
  readonly #u32: Uint32Array<ArrayBuffer>;
  readonly #u64: BigUint64Array<ArrayBuffer>;

  /** Made by `AddressSpace`; `memory` is the view of the range behind the mapping. */
  constructor(live: LiveMapping, control: MappingControl, memory: ArrayBuffer) {
    this.iova = live.iova;
    this.iovaLo = Number(live.iova & 0xffff_ffffn);
    this.iovaHi = Number(live.iova >> 32n);
    this.size = live.size;
    this.pageSize = live.pageSize;
    this.#live = live;
    this.#control = control;
    this.#u8 = new Uint8Array(memory);
    this.#u32 = new Uint32Array(memory);
    this.#u64 = new BigUint64Array(memory);
    standFor(live, this);
    // The views may outlive this object.
    forgotten(memory, live, control.mappings);
  }

  /** The memory as bytes. The views are of length 0 once the buffer is closed. @throws ERR_VFIO_CLOSED */
  get u8(): Uint8Array<ArrayBuffer> {
    return this.#open(this.#u8);
  }

  get u32(): Uint32Array<ArrayBuffer> {
    return this.#open(this.#u32);
  }

  get u64(): BigUint64Array<ArrayBuffer> {
    return this.#open(this.#u64);
  }

  get closed(): boolean {
    return this.#live.closing !== undefined;
  }

  /**
   * The memory for another thread of this process (`attachMemory`), by numbers that can be posted. It
   * is this buffer's: once that is closed, devices no longer reach it.
   */
  share(): SharedMemoryId {
    const { range } = this.#live.backing;
    if (this.closed || range === undefined) throw closedError('DMA buffer');
    return { iova: this.iova, size: this.size, range };
  }

  /**
   * Detach the views at once (or, while a device is being attached, right after that), then take the
   * mapping away from the devices; what a device still has under way lands in memory that nobody else
   * has yet. Idempotent.
   */
  close(): Promise<void> {
    return this.#control.close(this.#live);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open<T>(view: T): T {
    if (this.closed) throw closedError('DMA buffer');
    return view;
  }
}
