/** Large mappings in pieces, so that they can be watched and abandoned. */

export interface Progress {
  /** Called after each piece. */
  readonly onProgress?: (mapped: number, size: number) => void;
  /** Abandon the mapping between pieces: what was mapped is unmapped, and the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Pinning takes about 0.1 s for it, and it is a multiple of all but the largest pages. */
const CHUNK = 256 * 1024 * 1024;

/** How large the pieces of a mapping are, each one a mapping of its own for the kernel: all of it if nobody watches. */
export function pieceSize(
  size: number,
  pageSize: number,
  { onProgress, signal }: Progress,
): number {
  return onProgress || signal ? Math.max(CHUNK, pageSize) : size;
}

/** Call `map` for `size` bytes, `piece` at a time; after a failure, `undo` for the pieces that succeeded. */
export async function mapInChunks(
  size: number,
  piece: number,
  { onProgress, signal }: Progress,
  map: (offset: number, length: number) => Promise<unknown>,
  undo: (length: number) => Promise<unknown>,
): Promise<void> {
  let done = 0;
  try {
    while (done < size) {
      signal?.throwIfAborted();
      const length = Math.min(piece, size - done);
      await map(done, length);
      done += length;
      onProgress?.(done, size);
    }
  } catch (error) {
    if (done > 0) await undo(done);
    throw error;
  }
}
