import { Readable } from 'node:stream';
import { VfioError } from '../../errors';
import { assertFunction } from '../../irq/listeners';
import { asError, construct, endError } from './abandoned';
import type { MigrationData } from './data';
import type { Migration } from './migration';
import type { MigrationState } from './states';

export interface SaveOptions {
  /** 'stop' stops the device first; 'pre-copy' (unless given, where the device can and runs) lets it run as long as it has data. */
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
  /** Where the device was before. */
  #from: MigrationState | undefined;
  /** The piece that is on its way. */
  #reading: Promise<unknown> = Promise.resolve();
  #stopped = false;
  #bytes = 0;

  /** @throws ERR_VFIO_INVALID_ARGUMENT */
  constructor(migration: Migration, options: SaveOptions) {
    if (options.onProgress !== undefined) assertFunction(options.onProgress, 'onProgress');
    super({ highWaterMark: CHUNK, ...(options.signal && { signal: options.signal }) });
    this.#migration = migration;
    this.#options = options;
  }

  override _construct(callback: (error?: Error | null) => void): void {
    construct(this, this.#begin(), callback);
  }

  override _read(): void {
    this.#reading = this.#next().then(
      (chunk) => this.push(chunk),
      (reason) => this.destroy(asError(reason)),
    );
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#end().then(
      () => callback(error),
      (cause) => callback(error ?? endError(this, cause)),
    );
  }

  async #begin(): Promise<void> {
    const { state, capabilities } = this.#migration;
    const { from = 'pre-copy' } = this.#options;
    this.#from = state;
    if (state !== 'stop' && !state.startsWith('running')) {
      throw new VfioError(
        'ERR_VFIO_MIGRATION_STATE',
        `a device is saved as it runs, or is stopped, and not from ${state}`,
        { hint: "its state is given, or taken, already: end that, or setState('stop')" },
      );
    }
    // One that is stopped would have to run for it.
    const preCopy = from === 'pre-copy' && capabilities.preCopy && state.startsWith('running');
    this.#stopped = !preCopy;
    this.#data = await this.#migration.setState(preCopy ? 'pre-copy' : 'stop-copy');
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
      if (this.#stopped || this.destroyed) return null;
      // All it has while it runs: the rest comes once it is stopped, through the same descriptor.
      await this.#migration.setState('stop-copy');
      this.#stopped = true;
    }
  }

  async #end(): Promise<void> {
    await this.#reading;
    await this.#data?.close();
    // Refused, or failed before anything happened.
    if (!this.#data && this.#migration.state === this.#from) return;
    // All that was read here has been taken there; what is only read ahead has not.
    await this.#migration.setState(this.readableEnded ? 'stop' : this.#from!);
  }
}
