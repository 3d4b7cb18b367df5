/**
 * Buffers for frames, by index: DPDK's mbufs as columns. A frame is the number of its buffer; how
 * long it is and which VLAN it belongs to stand in a table, so that none needs an object.
 */
import type { DmaPool } from 'vfio';
import { DriverError } from './errors';
import { MAX_JUMBO_FRAME } from './registers';

/** What SRRCTL counts buffers in (8.10.2). */
const GRANULE = 1024;
/** A frame of 1522 bytes with room to spare. */
export const DEFAULT_BUFFER_BYTES = 2 * GRANULE;
/** The longest frame that the MAC receives, in one buffer. */
export const JUMBO_BUFFER_BYTES = Math.ceil(MAX_JUMBO_FRAME / GRANULE) * GRANULE;

/** The least that holds a frame of `bytes` bytes. */
export function bufferBytesFor(bytes: number): number {
  return Math.max(DEFAULT_BUFFER_BYTES, Math.ceil(bytes / GRANULE) * GRANULE);
}

export interface PacketPoolOptions {
  /** Buffers: as many as all rings that are fed from the pool hold, and those in the program's hands. */
  readonly count: number;
  /** Of a buffer, a multiple of 1024. Default 2048; a received frame that is longer is dropped. */
  readonly bufferBytes?: number;
}

/** What a pool needs of an AddressSpace. */
export interface PoolSpace {
  pool(options: { size: number; count: number }): Promise<DmaPool>;
}

export class PacketPool {
  /** By index, as a receive descriptor has it: bytes of the frame, and its VLAN tag in the upper half. */
  readonly info: Uint32Array;
  readonly bufferBytes: number;

  constructor(readonly buffers: DmaPool) {
    this.bufferBytes = buffers.size;
    this.info = new Uint32Array(buffers.count);
  }

  /** @throws DriverError, and what `dma.pool` throws */
  static async create(
    dma: PoolSpace,
    { count, bufferBytes = DEFAULT_BUFFER_BYTES }: PacketPoolOptions,
  ): Promise<PacketPool> {
    if (bufferBytes % GRANULE !== 0 || !(bufferBytes > 0 && bufferBytes <= JUMBO_BUFFER_BYTES)) {
      throw new DriverError(
        `buffers of ${bufferBytes} bytes`,
        `a multiple of ${GRANULE}, at most ${JUMBO_BUFFER_BYTES}`,
      );
    }
    return new PacketPool(await dma.pool({ size: bufferBytes, count }));
  }

  /** Bytes of the frame in a buffer, without FCS. */
  length(id: number): number {
    return this.info[id]! & 0xffff;
  }

  /** Its VLAN tag (priority and number), which the hardware has stripped or is to insert; 0: none. */
  vlan(id: number): number {
    return this.info[id]! >>> 16;
  }

  /** What is in a buffer that is to be sent. */
  setFrame(id: number, length: number, vlan = 0): void {
    this.info[id] = length | (vlan << 16);
  }

  /** The buffer as words; the frame is at its start. */
  words(id: number): Uint32Array {
    return this.buffers.buffers[id]!.u32;
  }

  bytes(id: number): Uint8Array {
    return this.buffers.buffers[id]!.u8;
  }

  /** A buffer for an untagged frame of `length` bytes; -1 if all are out. */
  take(length: number): number {
    const id = this.buffers.takeIndex();
    if (id < 0) return id;
    this.setFrame(id, length);
    return id;
  }

  give(id: number): void {
    this.buffers.giveIndex(id);
  }
}
