/** The mappings that an address space has at the moment, and what each takes to be made or taken away. */
import { VfioError } from '../errors';
import type { DmaMapping, IovaSpan } from './mapping';
import type { MapOptions } from './options';

export interface Closable {
  close(): Promise<void>;
}

export interface LiveMapping {
  /** Make it once more, in a new space of the kernel. */
  remap: () => Promise<void>;
  unmap: () => Promise<unknown>;
  readonly options: MapOptions;
  /** What is to be closed for it to go: the mapping, or the buffer that has it. */
  owner: Closable;
}

export class LiveMappings {
  readonly #live = new Map<DmaMapping, LiveMapping>();

  get count(): number {
    return this.#live.size;
  }

  get bytes(): number {
    let bytes = 0;
    for (const { size } of this.spans()) bytes += size;
    return bytes;
  }

  spans(): Iterable<IovaSpan> {
    return this.#live.keys();
  }

  add(mapping: DmaMapping, live: LiveMapping): void {
    this.#live.set(mapping, live);
  }

  setOwner(mapping: DmaMapping, owner: Closable): void {
    const live = this.#live.get(mapping);
    if (live) live.owner = owner;
  }

  delete(mapping: DmaMapping): void {
    this.#live.delete(mapping);
  }

  /** @throws ERR_VFIO_INVALID_ARGUMENT */
  find({ iova, size }: IovaSpan): [DmaMapping, LiveMapping] {
    for (const entry of this.#live) {
      if (entry[0].iova === iova && entry[0].size === size) return entry;
    }
    throw new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `there is no mapping of ${size} bytes at IOVA 0x${iova.toString(16)}`,
    );
  }

  async remapAll(): Promise<void> {
    for (const { remap } of this.#live.values()) await remap();
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#live.values()].map(({ owner }) => owner.close()));
  }
}
