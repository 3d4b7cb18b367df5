/**
 * How long a run of ours goes on before it is measured: an emulated processor takes seconds to compile
 * what it runs.
 */
const WARM_UP_MS = 4000;

/** Do `some` of it until all that is hot is compiled. */
export async function warmUp(some: () => void | Promise<void>): Promise<void> {
  const end = performance.now() + WARM_UP_MS;
  while (performance.now() < end) await some();
}
