/** Status of `vfio lab` when the lab failed, as opposed to the command in it. */
export const LAB_FAILED = 125;

/** Shows what is being prepared; stdout is for results. */
export function progress(line: string): void {
  process.stderr.write(`vfio lab: ${line}\n`);
}
