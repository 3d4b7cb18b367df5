import { Transform, type TransformCallback } from 'node:stream';

/**
 * Passes bytes through up to a token, then ends. A virtio-serial port has no end of file of its
 * own, so the guest writes a token that the host has made up after the last byte of the stream.
 * Only what could be the beginning of the token is held back.
 */
export class UntilToken extends Transform {
  readonly #token: Buffer;
  #held = Buffer.alloc(0);
  #complete = false;

  constructor(token: string) {
    super();
    this.#token = Buffer.from(token);
  }

  /** Whether the token has come, that is, whether nothing is missing. */
  get complete(): boolean {
    return this.#complete;
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    this.#pass(chunk);
    done();
  }

  override _flush(done: TransformCallback): void {
    if (this.#held.length > 0) this.push(this.#held);
    done();
  }

  #pass(chunk: Buffer): void {
    if (this.#complete) return;
    const data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const end = data.indexOf(this.#token);
    if (end >= 0) {
      this.#complete = true;
      this.#held = Buffer.alloc(0);
      if (end > 0) this.push(data.subarray(0, end));
      this.push(null);
      return;
    }
    const safe = data.length - this.#possibleTokenAtEnd(data);
    this.#held = Buffer.from(data.subarray(safe));
    if (safe > 0) this.push(data.subarray(0, safe));
  }

  /** The length of the longest end of `data` that the token begins with. */
  #possibleTokenAtEnd(data: Buffer): number {
    for (let length = Math.min(this.#token.length - 1, data.length); length > 0; length--) {
      if (data.subarray(data.length - length).equals(this.#token.subarray(0, length))) {
        return length;
      }
    }
    return 0;
  }
}
