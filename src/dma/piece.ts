/** A part of DMA memory, as a buffer of its own. */

/** Bytes: what a view of 64-bit words needs of its offset. */
export const MIN_ALIGNMENT = 8;

/** What pools and arenas need of a DmaBuffer. */
export interface SlabMemory {
  readonly u8: Uint8Array<ArrayBuffer>;
  readonly iova: bigint;
  close(): Promise<void>;
}

export interface Piece {
  readonly iova: bigint;
  /** The halves of `iova`, for descriptors. */
  readonly iovaLo: number;
  readonly iovaHi: number;
  readonly u8: Uint8Array<ArrayBuffer>;
  /** As many whole words as fit. */
  readonly u32: Uint32Array<ArrayBuffer>;
  readonly u64: BigUint64Array<ArrayBuffer>;
}

/** `size` bytes of `slab` from `offset` on, a multiple of 8. */
export function pieceOf(
  slab: Pick<SlabMemory, 'u8' | 'iova'>,
  offset: number,
  size: number,
): Piece {
  const { buffer: memory, byteOffset } = slab.u8;
  const at = byteOffset + offset;
  const iova = slab.iova + BigInt(offset);
  return {
    iova,
    iovaLo: Number(iova & 0xffff_ffffn),
    iovaHi: Number(iova >> 32n),
    u8: new Uint8Array(memory, at, size),
    u32: new Uint32Array(memory, at, Math.floor(size / 4)),
    u64: new BigUint64Array(memory, at, Math.floor(size / 8)),
  };
}
