/** The mappings that an address space has at the moment, and what each takes to be made or taken away. */
import { allDone } from '../all-done';
import { VfioError } from '../errors';
import type { PreparedMapping } from './backend';
import type { DmaMapping, IovaSpan } from './mapping';
import type { MapOptions } from './options';

export interface Closable {
  close(): Promise<void>;
}

export interface LiveMapping {
  /** Make it once more, in a new space of the kernel. */
  remap: () => Promise<void>;
  unmap: () => Promise<unknown>;
  /** The same two, at once; undefined for what is not memory of the process. */
  prepare: (() => PreparedMapping) | undefined;
  /** What `prepare` has made. */
  prepared?: PreparedMapping | undefined;
  readonly options: MapOptions;
  /** What is to be closed for it to go: the mapping, or the buffer that has it. */
  owner: Closable;
}

export class LiveMappings {
  /** Undefined: the kernel is about to make it, or to take it away. Its addresses are nobody else's. */
  readonly #mappings = new Map<DmaMapping, LiveMapping | undefined>();

  get count(): number {
    let count = 0;
    for (const live of this.#mappings.values()) if (live) count++;
    return count;
  }

  get bytes(): number {
    let bytes = 0;
    for (const [{ size }, live] of this.#mappings) if (live) bytes += size;
    return bytes;
  }

  /** All addresses that are in use, those of mappings under way too. */
  spans(): Iterable<IovaSpan> {
    return this.#mappings.keys();
  }

  /** It has its addresses. */
  reserve(mapping: DmaMapping): void {
    this.#mappings.set(mapping, undefined);
  }

  /** It is made. */
  add(mapping: DmaMapping, live: LiveMapping): void {
    this.#mappings.set(mapping, live);
  }

  setOwner(mapping: DmaMapping, owner: Closable): void {
    const live = this.#mappings.get(mapping);
    if (live) live.owner = owner;
  }

  /** It is to be taken away, by what is returned, and keeps its addresses until then. */
  retire(mapping: DmaMapping): LiveMapping {
    const live = this.#mappings.get(mapping)!;
    this.#mappings.set(mapping, undefined);
    return live;
  }

  /** Its addresses are free. */
  delete(mapping: DmaMapping): void {
    this.#mappings.delete(mapping);
  }

  /** @throws ERR_VFIO_INVALID_ARGUMENT */
  find({ iova, size }: IovaSpan): [DmaMapping, LiveMapping] {
    for (const [mapping, live] of this.#mappings) {
      if (live && mapping.iova === iova && mapping.size === size) return [mapping, live];
    }
    throw new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `there is no mapping of ${size} bytes at IOVA 0x${iova.toString(16)}`,
    );
  }

  async remapAll(): Promise<void> {
    for (const [{ suspended }, live] of this.#mappings) if (!suspended) await live?.remap();
  }

  /** Also waits for those that are being taken away. */
  async closeAll(): Promise<void> {
    await allDone(
      [...this.#mappings].map(([mapping, live]) => {
        if (live) return live.owner.close();
        return mapping.closed ? mapping.close() : undefined;
      }),
    );
  }
}
