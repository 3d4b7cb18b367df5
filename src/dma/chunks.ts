/** Large mappings in pieces, so that they can be watched and abandoned. */

export interface Progress {
  /** Called after each piece. */
  readonly onProgress?: (mapped: number, size: number) => void;
  /** Abandon the mapping between pieces: what was mapped is unmapped, and the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Pinning takes about 0.1 s for it, and it is a multiple of all but the largest pages. */
const CHUNK = 256 * 1024 * 1024;

/**
 * Call `map` for `size` bytes in pieces of whole pages, in one go if nobody watches: each piece is
 * a mapping of its own for the kernel, which counts them.
 */
export async function mapInChunks(
  size: number,
  pageSize: number,
  { onProgress, signal }: Progress,
  map: (offset: number, length: number) => Promise<unknown>,
  unmap: (length: number) => Promise<unknown>,
): Promise<void> {
  signal?.throwIfAborted();
  const chunk = onProgress || signal ? Math.max(CHUNK, pageSize) : size;
  let done = 0;
  try {
    for (; done < size; done += chunk) {
      signal?.throwIfAborted();
      await map(done, Math.min(chunk, size - done));
      onProgress?.(Math.min(done + chunk, size), size);
    }
  } catch (error) {
    if (done > 0) await unmap(Math.min(done, size));
    throw error;
  }
}
