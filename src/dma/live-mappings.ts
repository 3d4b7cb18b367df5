/** Live mappings of an address space, and what the kernel has of each. */
import { shown, VfioError } from '../errors';
import { native } from '../native';
import type { PreparedMapping } from './backend';
import type { Backing } from './backing';
import type { IovaSpan, PagedSpan } from './mapping';

export interface Closable {
  close(): Promise<void>;
}

/** One mapping. It does not refer to the object that the caller holds, which may be collected. */
export class LiveMapping implements PagedSpan {
  readonly iova: bigint;
  readonly size: number;
  readonly pageSize: number;
  /** Bytes of each of the kernel's mappings that it consists of; the last may be shorter. */
  readonly piece: number;
  backing: Backing;
  prepared: PreparedMapping | undefined;
  /** Of the addon: it is unmapped when the thread ends without a close. */
  farewell: number | undefined;
  /** Bytes from its start that are mapped in the kernel. */
  mapped = 0;
  /** 'making' until it is the caller's, 'gone' as soon as its IOVAs are free. */
  state: 'making' | 'open' | 'gone' = 'making';
  suspended = false;
  /** The kernel has not unmapped it, and nobody will ask again. */
  stuck = false;
  /** Settles with the asynchronous operation on it that is under way. */
  busy: Promise<void> | undefined;
  closing: Promise<void> | undefined;

  constructor({ iova, size, pageSize }: PagedSpan, piece: number, backing: Backing) {
    this.iova = iova;
    this.size = size;
    this.pageSize = pageSize;
    this.piece = piece;
    this.backing = backing;
  }
}

/** The mapping of each object that was given to the caller. */
const handles = new WeakMap<object, LiveMapping>();

/** `handle` stands for `live`, and for no other that is at its place later. */
export function standFor(live: LiveMapping, handle: object): void {
  handles.set(handle, live);
}

export class LiveMappings implements Iterable<LiveMapping> {
  readonly #mappings = new Set<LiveMapping>();
  /** A mapping that was collected without close() is reported once. */
  reported = false;

  get count(): number {
    let count = 0;
    for (const live of this.#mappings) if (isOpen(live)) count++;
    return count;
  }

  get bytes(): number {
    let bytes = 0;
    for (const live of this.#mappings) if (isOpen(live)) bytes += live.size;
    return bytes;
  }

  /** All, also those that are being made or closed: their IOVAs are in use. */
  [Symbol.iterator](): Iterator<LiveMapping> {
    return this.#mappings.values();
  }

  /** Reserves the mapping's IOVA range before the kernel is asked. */
  add(live: LiveMapping): void {
    this.#mappings.add(live);
  }

  /** Its IOVAs are free. False if they were before. */
  delete(live: LiveMapping): boolean {
    live.state = 'gone';
    if (live.farewell !== undefined) native.farewellCancel(live.farewell);
    live.farewell = undefined;
    return this.#mappings.delete(live);
  }

  /** The mapping of a handle, or at a place. @throws ERR_VFIO_INVALID_ARGUMENT */
  find(mapping: IovaSpan): LiveMapping {
    const own = handles.get(mapping);
    const { iova, size } = mapping ?? {};
    for (const live of own ? [own] : this.#mappings) {
      if (live.iova !== iova || live.size !== size) continue;
      if (isOpen(live) && this.#mappings.has(live)) return live;
    }
    throw new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `there is no mapping of ${shown(size)} bytes at IOVA ${typeof iova === 'bigint' ? `0x${iova.toString(16)}` : shown(iova)}`,
    );
  }

  /** The kernel has dropped them all, together with its IOMMU. */
  dropped(): void {
    for (const live of this.#mappings) {
      live.mapped = 0;
      if (live.stuck) this.delete(live);
    }
  }
}

function isOpen(live: LiveMapping): boolean {
  return live.state === 'open' && live.closing === undefined;
}
