/** The terminal that `vfio lab` runs on, handed through to a command in the guest. */
import { PassThrough, type Readable } from 'node:stream';
import type { TerminalSize } from '../lab';

const ESCAPE = 0x1d;
const ESCAPE_COUNT = 3;
const ESCAPE_TIME = 1000;

/**
 * What a program that was killed may have left on: the other screen, a hidden cursor, mouse reports,
 * bracketed paste, application keys, colours.
 */
const RESET = '\x1b[?1049l\x1b[?25h\x1b[?1000;1002;1003;1006l\x1b[?2004l\x1b[?1l\x1b>\x1b[0m\r\n';

export const isTerminal = (): boolean =>
  process.stdin.isTTY === true && process.stdout.isTTY === true;

/** In raw mode until disposed of: Ctrl-C and the like are keys for the guest. */
export class RawTerminal implements Disposable {
  /** What is typed. */
  readonly input: Readable;
  readonly #typed = new PassThrough();
  readonly #onEscape: () => void;
  #escapes: number[] = [];
  #onResize: () => void = () => {};

  /** @param onEscape Ctrl-] three times within a second: for a guest that no longer answers */
  constructor(onEscape: () => void) {
    this.input = this.#typed;
    this.#onEscape = onEscape;
    process.stdin.setRawMode(true);
    process.stdin.on('data', this.#type).on('error', () => {}); // a terminal that is gone: SIGHUP
    process.once('exit', this.#restore);
  }

  get size(): TerminalSize {
    return { columns: process.stdout.columns, rows: process.stdout.rows };
  }

  onResize(listener: (size: TerminalSize) => void): void {
    this.#onResize = () => listener(this.size);
    process.stdout.on('resize', this.#onResize);
  }

  /** After a command that had no time to leave the terminal as it was. */
  reset(): void {
    process.stdout.write(RESET);
  }

  [Symbol.dispose](): void {
    process.stdin.off('data', this.#type).pause();
    process.stdout.off('resize', this.#onResize);
    process.off('exit', this.#restore);
    this.#restore();
  }

  #restore = (): void => {
    process.stdin.setRawMode(false);
  };

  #type = (chunk: Buffer): void => {
    this.#typed.write(chunk);
    const now = Date.now();
    for (const byte of chunk) {
      this.#escapes = byte === ESCAPE ? [...this.#escapes, now].slice(-ESCAPE_COUNT) : [];
    }
    const [first] = this.#escapes;
    if (this.#escapes.length === ESCAPE_COUNT && now - first! < ESCAPE_TIME) this.#onEscape();
  };
}
