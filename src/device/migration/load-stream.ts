import { Writable } from 'node:stream';
import { assertFunction } from '../../irq/listeners';
import { asError, construct, endError } from './abandoned';
import type { MigrationData } from './data';
import type { Migration } from './migration';
import type { MigrationState } from './states';

export interface LoadOptions {
  /** The state to end in; 'running' unless given. */
  readonly finalState?: 'running' | 'stop' | 'running-p2p';
  /** Called with the bytes so far after each piece. */
  readonly onProgress?: (bytes: number) => void;
  /** Destroys the stream with its reason. */
  readonly signal?: AbortSignal;
}

export class LoadStream extends Writable {
  readonly #migration: Migration;
  readonly #options: LoadOptions;
  #data: MigrationData | undefined;
  /** Where the device was before. */
  #from: MigrationState | undefined;
  #bytes = 0;

  /** @throws ERR_VFIO_INVALID_ARGUMENT */
  constructor(migration: Migration, options: LoadOptions) {
    if (options.onProgress !== undefined) assertFunction(options.onProgress, 'onProgress');
    super({ ...(options.signal && { signal: options.signal }) });
    this.#migration = migration;
    this.#options = options;
  }

  override _construct(callback: (error?: Error | null) => void): void {
    construct(this, this.#begin(), callback);
  }

  override _write(
    chunk: Buffer,
    _: BufferEncoding,
    callback: (error?: Error | null) => void,
  ): void {
    this.#take(chunk).then(
      () => callback(),
      (reason) => callback(asError(reason)),
    );
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#finish().then(() => callback(), callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#undo().then(
      () => callback(error),
      (cause) => callback(error ?? endError(this, cause)),
    );
  }

  async #begin(): Promise<void> {
    this.#from = this.#migration.state;
    this.#data = await this.#migration.setState('resuming');
  }

  async #take(chunk: Buffer): Promise<void> {
    await this.#data!.write(chunk);
    this.#bytes += chunk.length;
    this.#options.onProgress?.(this.#bytes);
  }

  async #undo(): Promise<void> {
    // Whoever was told of no end takes it that the other side has the device still.
    if (this.writableFinished) return;
    // Refused, or failed before anything happened.
    if (!this.#data && this.#migration.state === this.#from) return;
    await this.#migration.recover();
  }

  async #finish(): Promise<void> {
    await this.#data!.close();
    // The driver looks at the data as a whole now.
    await this.#migration.setState(this.#options.finalState ?? 'running');
  }
}
