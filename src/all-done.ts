/** Waits for all of them, whatever becomes of one. @throws what the first that failed threw */
export async function allDone(promises: Iterable<Promise<unknown> | undefined>): Promise<void> {
  throwFirst(await Promise.allSettled(promises));
}

/** @throws the reason of the first that failed */
export function throwFirst(results: readonly PromiseSettledResult<unknown>[]): void {
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
