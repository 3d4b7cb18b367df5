/** Large mappings in pieces, so that they can be watched and abandoned. */

export interface Progress {
  /** Called after each piece. */
  readonly onProgress?: (mapped: number, size: number) => void;
  /** Abandon the mapping between pieces: what was mapped is unmapped, and the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Pinning takes about 0.1 s for it, and it is a multiple of all but the largest pages. */
const CHUNK = 256 * 1024 * 1024;

/** How large the pieces of a mapping are, each one a mapping of its own for the kernel. */
export function pieceSize(
  size: number,
  pageSize: number,
  { onProgress, signal }: Progress,
): number {
  return onProgress || signal ? Math.max(CHUNK, pageSize) : size;
}

/**
 * Call `map` for `size` bytes in pieces of whole pages, in one go if nobody watches: each piece is
 * a mapping of its own for the kernel, which counts them.
 */
export async function mapInChunks(
  size: number,
  pageSize: number,
  progress: Progress,
  map: (offset: number, length: number) => Promise<unknown>,
  unmap: (length: number) => Promise<unknown>,
): Promise<void> {
  const { onProgress, signal } = progress;
  if (!onProgress && !signal) {
    await map(0, size);
    return;
  }
  signal?.throwIfAborted();
  const chunk = pieceSize(size, pageSize, progress);
  let done = 0;
  try {
    while (done < size) {
      signal?.throwIfAborted();
      const length = Math.min(chunk, size - done);
      await map(done, length);
      done += length;
      onProgress?.(done, size);
    }
  } catch (error) {
    if (done > 0) await unmap(done);
    throw error;
  }
}
