import { Readable } from 'node:stream';
import type { MigrationData } from './data';
import type { Migration } from './migration';

export interface SaveOptions {
  /** 'stop' stops the device first; 'pre-copy' (unless given, where the device can) lets it run as long as it has data. */
  readonly from?: 'pre-copy' | 'stop';
  /** Called with the bytes so far after each piece. */
  readonly onProgress?: (bytes: number) => void;
  /** Destroys the stream with its reason. */
  readonly signal?: AbortSignal;
}

const CHUNK = 1 << 20;

export class SaveStream extends Readable {
  readonly #migration: Migration;
  readonly #options: SaveOptions;
  #data: MigrationData | undefined;
  #stopped = false;
  #saved = false;
  #bytes = 0;

  constructor(migration: Migration, options: SaveOptions) {
    super({ highWaterMark: CHUNK, ...(options.signal && { signal: options.signal }) });
    this.#migration = migration;
    this.#options = options;
  }

  override _construct(callback: (error?: Error | null) => void): void {
    const { from = 'pre-copy' } = this.#options;
    const preCopy = from === 'pre-copy' && this.#migration.capabilities.preCopy;
    this.#stopped = !preCopy;
    this.#migration.setState(preCopy ? 'pre-copy' : 'stop-copy').then((data) => {
      this.#data = data;
      callback();
    }, callback);
  }

  override _read(): void {
    this.#next().then(
      (chunk) => this.push(chunk),
      (error) => this.destroy(error),
    );
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#end().then(
      () => callback(error),
      (cause) => callback(error ?? cause),
    );
  }

  async #next(): Promise<Buffer | null> {
    const chunk = Buffer.allocUnsafe(CHUNK);
    for (;;) {
      const length = await this.#data!.read(chunk);
      if (length > 0) {
        this.#bytes += length;
        this.#options.onProgress?.(this.#bytes);
        return chunk.subarray(0, length);
      }
      if (this.#stopped) {
        this.#saved = true;
        return null;
      }
      // All it has while it runs: the rest comes once it is stopped, through the same descriptor.
      await this.#migration.setState('stop-copy');
      this.#stopped = true;
    }
  }

  async #end(): Promise<void> {
    if (!this.#data) return;
    await this.#data.close();
    await this.#migration.setState(this.#saved ? 'stop' : 'running');
  }
}
