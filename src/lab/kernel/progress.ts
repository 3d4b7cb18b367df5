/**
 * About how many files the kernel of kernel.config is compiled from; from the last build of this
 * package's maintainers, see COUNT_FILE.
 */
export const EXPECTED_FILES = 1440;

/** Seconds between two lines of progress. */
const REPORT_INTERVAL = 20;

/** Shares of the work that must be done in this run before it tells the time left. */
const LEAST_SHARE = 0.04;

/** Tells from make's output how far a build is, and when it will have ended. */
export class CompilationProgress {
  readonly #report: (line: string) => void;
  readonly #start: number;
  readonly #before: number;
  #reported: number;
  #files = 0;

  /**
   * @param before files that an interrupted build has compiled already
   * @param now milliseconds; tests have a clock of their own
   */
  constructor(report: (line: string) => void, before: number, now = Date.now()) {
    this.#report = report;
    this.#before = before;
    this.#start = now;
    this.#reported = now;
  }

  /** Files compiled in all. */
  get files(): number {
    return this.#before + this.#files;
  }

  /** Sees a line of make's output. */
  see(line: string, now = Date.now()): void {
    if (!/^ +(CC|AS|HOSTCC)\b/.test(line)) return;
    this.#files++;
    if (now - this.#reported < REPORT_INTERVAL * 1000) return;
    this.#reported = now;
    const left = this.#timeLeft(now - this.#start);
    this.#report(`compiled ${this.files} of about ${EXPECTED_FILES} files${left}`);
  }

  #timeLeft(elapsed: number): string {
    const left = EXPECTED_FILES - this.files;
    if (left <= 0) return ', nearly done';
    if (this.#files < EXPECTED_FILES * LEAST_SHARE) return '';
    const minutes = Math.round(((elapsed / this.#files) * left) / 60_000);
    return minutes < 1 ? ', less than a minute left' : `, about ${minutes} min left`;
  }
}

/** `2:05` for 125 seconds. */
export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}
