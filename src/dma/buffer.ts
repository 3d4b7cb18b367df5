import { closedError } from '../errors';
import { native } from '../native';

/** The memory and the mapping behind a buffer, and how its address space takes them back. */
export interface DmaMapping {
  /** A range of the addon that this buffer owns. */
  readonly range: number;
  readonly size: number;
  readonly iova: bigint;
  unmap(): Promise<void>;
}

/**
 * Memory that devices reach at `iova`. Ordinary cached memory: plain typed-array access is right,
 * except for words that a device changes while they are read (`Atomics.load` on `u32`).
 */
export class DmaBuffer implements AsyncDisposable {
  readonly size: number;
  readonly iova: bigint;
  /** The halves of `iova`, for descriptors: a hot path needs no bigint. */
  readonly iovaLo: number;
  readonly iovaHi: number;
  readonly #mapping: DmaMapping;
  readonly #u8: Uint8Array<ArrayBuffer>;
  readonly #u32: Uint32Array<ArrayBuffer>;
  readonly #u64: BigUint64Array<ArrayBuffer>;
  #closing: Promise<void> | undefined;

  /** Made by `AddressSpace.alloc`. */
  constructor(mapping: DmaMapping, memory: ArrayBuffer) {
    this.#mapping = mapping;
    this.size = mapping.size;
    this.iova = mapping.iova;
    this.iovaLo = Number(mapping.iova & 0xffff_ffffn);
    this.iovaHi = Number(mapping.iova >> 32n);
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
   * Detach the views at once, then take the mapping away from the devices; what a device still has
   * under way lands in memory that nobody else has yet. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    native.rangeRelease(this.#mapping.range);
    await this.#mapping.unmap();
  }

  #open<T>(view: T): T {
    if (this.#closing) throw closedError('DMA buffer');
    return view;
  }
}
