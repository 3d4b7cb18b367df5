/** Status of `vfio lab` when the lab failed, as opposed to the command in it. */
export const LAB_FAILED = 125;

/** Shows what is being prepared; stdout is for results. */
export function progress(line: string): void {
  process.stderr.write(`vfio lab: ${line}\n`);
}

/** How long a boot may take until somebody wonders, in milliseconds. */
const PATIENCE = 3000;

/**
 * Says what takes long before a command runs: the set-up in any case, the boot at once on a terminal,
 * and elsewhere, where nobody may be waiting, if it does.
 */
export class StartNotice {
  #timer: NodeJS.Timeout | undefined;

  readonly report = (line: string, stage: 'set-up' | 'boot'): void => {
    if (stage === 'set-up' || process.stderr.isTTY) progress(line);
    else this.#timer = setTimeout(() => progress(line), PATIENCE);
  };

  done(): void {
    clearTimeout(this.#timer);
  }
}
