/** How a command line is cut: what the guest of `vfio lab` runs is not ours to parse. */

export interface CommandLine {
  /** As commander takes it: the program's two names first. */
  readonly own: readonly string[];
  readonly guestCommand: readonly string[];
}

/** Elsewhere than after `lab`, a `--` ends the options (POSIX guideline 10), which commander sees to. */
export function splitCommandLine(argv: readonly string[]): CommandLine {
  const dashes = argv[2] === 'lab' ? argv.indexOf('--') : -1;
  if (dashes < 0) return { own: argv, guestCommand: [] };
  return { own: argv.slice(0, dashes), guestCommand: argv.slice(dashes + 1) };
}
