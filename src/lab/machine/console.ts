/** How many lines of the guest's console a failure quotes. */
const KEPT_LINES = 80;

/** Longest line kept; firmware and broken guests may print without ever ending a line. */
const MAX_LINE = 1024;

/** Prefix of the messages by which the guest's init says why it gives up. */
export const GUEST_MESSAGE = 'vfio-lab: ';

/** Why a guest ended, as far as its console tells. */
export type ConsoleVerdict =
  | { kind: 'panic'; message: string }
  | { kind: 'init'; message: string }
  | { kind: 'unknown' };

/** Keeps the end of the guest's serial console and reads from it why the guest ended. */
export class ConsoleLog {
  #lines: string[] = [];
  #partial = '';
  #verdict: ConsoleVerdict = { kind: 'unknown' };

  push(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = (lines.pop() ?? '').slice(-MAX_LINE);
    for (const line of lines) this.#addLine(line);
  }

  /** The last lines, oldest first, without terminal escapes (the firmware prints some). */
  get lines(): string[] {
    const last = plain(this.#partial);
    return last === '' ? [...this.#lines] : [...this.#lines, last];
  }

  /** The first reason seen; what follows a panic (a second oops, a reboot) is its consequence. */
  get verdict(): ConsoleVerdict {
    return this.#verdict;
  }

  #addLine(raw: string): void {
    const line = plain(raw.slice(0, MAX_LINE));
    if (line === '') return;
    this.#lines.push(line);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    if (this.#verdict.kind !== 'panic') this.#verdict = judge(line) ?? this.#verdict;
  }
}

function judge(line: string): ConsoleVerdict | undefined {
  const panic = line.indexOf('Kernel panic - not syncing: ');
  if (panic >= 0) return { kind: 'panic', message: line.slice(panic) };
  if (line.startsWith(GUEST_MESSAGE)) {
    return { kind: 'init', message: line.slice(GUEST_MESSAGE.length) };
  }
  return undefined;
}

function plain(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: removing control characters is the point
  return line.replace(/\x1b(?:\[[0-9;?=]*[A-Za-z]|.)/g, '').replace(/[\x00-\x08\x0b-\x1f]/g, '');
}
