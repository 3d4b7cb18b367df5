import { closedError } from '../errors';
import { native } from '../native';
import type { SharedMemoryId } from './attached-memory';
import type { DmaMapping } from './mapping';

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
  readonly #mapping: DmaMapping;
  readonly #range: number;
  readonly #u8: Uint8Array<ArrayBuffer>;
  readonly #u32: Uint32Array<ArrayBuffer>;
  readonly #u64: BigUint64Array<ArrayBuffer>;
  #closing: Promise<void> | undefined;

  /** Made by `AddressSpace`; owner of `range`, the memory behind the mapping, of which `memory` is the view. */
  constructor(mapping: DmaMapping, range: number, memory: ArrayBuffer) {
    this.iova = mapping.iova;
    this.iovaLo = mapping.iovaLo;
    this.iovaHi = mapping.iovaHi;
    this.size = mapping.size;
    this.pageSize = mapping.pageSize;
    this.#mapping = mapping;
    this.#range = range;
    this.#u8 = new Uint8Array(memory);
    this.#u32 = new Uint32Array(memory);
    this.#u64 = new BigUint64Array(memory);
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
    return this.#closing !== undefined;
  }

  /**
   * The memory for another thread of this process (`attachMemory`), by numbers that can be posted. It
   * is this buffer's: once that is closed, devices no longer reach it.
   */
  share(): SharedMemoryId {
    if (this.#closing) throw closedError('DMA buffer');
    return { iova: this.iova, size: this.size, range: this.#range };
  }

  /**
   * Detach the views at once, then take the mapping away from the devices; what a device still has
   * under way lands in memory that nobody else has yet. Idempotent.
   */
  close(): Promise<void> {
    if (!this.#closing) {
      native.rangeRelease(this.#range);
      this.#closing = this.#mapping.close();
    }
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open<T>(view: T): T {
    if (this.#closing) throw closedError('DMA buffer');
    return view;
  }
}
