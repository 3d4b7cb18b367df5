/** How many a second, of `count` that `work` does. */
export function rate(count: number, work: (count: number) => void): number {
  const start = performance.now();
  work(count);
  return count / ((performance.now() - start) / 1e3);
}
