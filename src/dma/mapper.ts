/**
 * Makes and unmaps the mappings of an address space. Kernel, allocator and mappings agree between any two
 * turns: an IOVA range is free if, and only if, nothing is mapped there and nothing is about to be.
 */
import { constants } from 'node:os';
import { allDone } from '../all-done';
import { closedError, systemError, VfioError } from '../errors';
import { isBrief } from '../ioctl/call';
import { native } from '../native';
import { assertUnmapped, type DmaBackend, noIommu, type PreparedMapping } from './backend';
import type { Backing } from './backing';
import { mapInChunks, type Progress, pieceSize } from './chunks';
import { explainMapError } from './explain';
import { closeIfForgotten, remembered } from './forgotten';
import { LiveMapping, LiveMappings } from './live-mappings';
import type { IovaSpan, MappingControl, PagedSpan } from './mapping';
import type { MapOptions } from './options';
import { PhysicalPlacement } from './physical';
import { IovaPlacement, type Placement } from './placement';
import { Turn } from './turn';

export class Mapper implements MappingControl {
  readonly mappings = new LiveMappings();
  /** Operations on different mappings share it; the space as a whole is changed by one alone. */
  readonly turn = new Turn();
  readonly #backend: DmaBackend;
  #placement: Placement | undefined;

  constructor(backend: DmaBackend) {
    this.#backend = backend;
    // Of the mappings only: the backend, which refers to this, outlives a mapper that is forgotten.
    const { mappings } = this;
    backend.onDropped?.(() => mappings.dropped());
    closeIfForgotten(this, backend);
  }

  /**
   * Where mappings go in the space as the kernel has it now.
   * @throws ERR_VFIO_INVALID_ARGUMENT if it has none, ERR_VFIO_IOVA_OUTSIDE if a mapping is outside of it
   */
  placement(): Placement {
    const geometry = this.#backend.geometry();
    if (!geometry) throw noIommu();
    // Each device that comes may narrow the space, and one after the last may begin another.
    if (this.#placement?.geometry !== geometry) {
      this.#placement = this.#backend.physical
        ? new PhysicalPlacement(geometry)
        : new IovaPlacement(geometry, this.mappings);
    }
    return this.#placement;
  }

  /** Find an address and map there. The caller shares the turn. */
  async place(
    { size, pageSize }: Sized,
    options: MapOptions,
    backing: Backing,
  ): Promise<LiveMapping> {
    const placement = this.placement();
    const memory = { size, pageSize, range: backing.range };
    const iova = placement.take(memory, options, this.mappings);
    const live = new LiveMapping(
      { iova, size, pageSize },
      pieceSize(size, pageSize, options),
      backing,
    );
    this.mappings.add(live);
    try {
      live.farewell = this.#farewell(live);
      await this.#map(live, options);
    } catch (error) {
      this.#freeUnlessMapped(live);
      const { accounting } = this.#backend;
      throw explainMapError(error, live, placement.geometry, this.mappings, accounting);
    }
    live.state = 'open';
    return live;
  }

  /** Unmap it, and release its memory. Idempotent. */
  close(live: LiveMapping): Promise<void> {
    live.closing ??= this.turn.share(() => this.#inOrder(live, () => this.#end(live)));
    return live.closing;
  }

  suspend(live: LiveMapping): void {
    assertOpen(live);
    if (live.suspended) return;
    assertIdle(live);
    const prepared = this.#prepared(live);
    if (live.mapped > 0) prepared.unmap();
    live.mapped = 0;
    live.suspended = true;
  }

  resume(live: LiveMapping): void {
    assertOpen(live);
    if (!live.suspended) return;
    assertIdle(live);
    this.#prepared(live).map();
    live.mapped = live.size;
    live.suspended = false;
  }

  /**
   * Do something to the mapping at a place that the kernel takes its time for, and nothing else to it
   * meanwhile. @throws ERR_VFIO_INVALID_ARGUMENT
   */
  change<T>(span: IovaSpan, what: (live: LiveMapping) => Promise<T>): Promise<T> {
    return this.turn.share(() => {
      const live = this.mappings.find(span);
      return this.#inOrder(live, () => {
        assertOpen(live);
        return what(live);
      });
    });
  }

  /** Other memory is behind it now. */
  rebacked(live: LiveMapping, backing: Backing): void {
    const { farewell } = live;
    live.backing = backing;
    live.prepared = undefined;
    live.farewell = this.#farewell(live);
    if (farewell !== undefined) native.farewellCancel(farewell);
  }

  /** It was unmapped in another way. Its memory stays until it is closed. */
  unmapped(live: LiveMapping): void {
    live.mapped = 0;
    this.#free(live);
  }

  /** `attach` a device or group, then map what the kernel does not have of the mappings, if it dropped them. */
  join(attach: () => Promise<void>): Promise<void> {
    return this.turn.alone(async () => {
      await attach();
      const { geometry } = this.placement();
      for (const live of [...this.mappings]) {
        if (live.state !== 'open' || live.closing || live.suspended || live.mapped > 0) continue;
        await this.#inOrder(live, () => this.#map(live, {})).catch((error) => {
          throw explainMapError(error, live, geometry, this.mappings, this.#backend.accounting);
        });
      }
    });
  }

  closeAll(): Promise<void> {
    return this.turn.alone(() => this.#endAll());
  }

  /** Close all mappings, then the kernel's space. */
  end(): Promise<void> {
    return this.turn.alone(async () => {
      try {
        await this.#endAll();
      } finally {
        remembered(this);
        this.#backend.close();
      }
    });
  }

  async #map(live: LiveMapping, progress: Progress): Promise<void> {
    await mapInChunks(
      live.size,
      live.piece,
      progress,
      async (offset, length) => {
        await live.backing.map(offset, live.iova + BigInt(offset), length);
        live.mapped = offset + length;
      },
      () => this.#unmap(live),
    );
  }

  async #unmap(live: LiveMapping): Promise<void> {
    const { iova, mapped } = live;
    if (mapped === 0) return;
    const unmapped = await this.#backend.unmap(iova, BigInt(mapped));
    live.mapped = 0;
    assertUnmapped(BigInt(mapped), unmapped);
  }

  /** One after the other, for each mapping. */
  async #inOrder<T>(live: LiveMapping, operation: () => Promise<T>): Promise<T> {
    while (live.busy) await live.busy;
    const result = operation();
    live.busy = result.then(
      () => {},
      () => {},
    );
    try {
      return await result;
    } finally {
      live.busy = undefined;
    }
  }

  async #end(live: LiveMapping): Promise<void> {
    release(live);
    if (live.state === 'gone') return;
    try {
      await this.#unmap(live);
    } finally {
      this.#freeUnlessMapped(live);
    }
  }

  /** What the kernel did not unmap keeps its addresses. */
  #freeUnlessMapped(live: LiveMapping): void {
    live.stuck = live.mapped > 0;
    if (!live.stuck) this.#free(live);
  }

  /** Nothing shares the turn. Those that wait to be closed find that they are. */
  async #endAll(): Promise<void> {
    const all = [...this.mappings];
    const together = this.#unmapTogether(all);
    const over = together.catch(() => {});
    const ends = all.map((live) => {
      const end = over.then(() => this.#end(live));
      live.closing ??= end;
      release(live);
      return end;
    });
    await allDone([together, ...ends]);
  }

  /** By one request, however many there are. */
  async #unmapTogether(all: readonly LiveMapping[]): Promise<void> {
    const wanted = all.reduce((bytes, { mapped }) => bytes + mapped, 0);
    if (wanted === 0 || this.#backend.physical) return;
    let unmapped: bigint;
    try {
      unmapped = await this.#backend.unmapAll();
    } catch {
      // Then each by itself: that tells which of them cannot be unmapped.
      return;
    }
    for (const live of all) live.mapped = 0;
    if (unmapped < BigInt(wanted)) assertUnmapped(BigInt(wanted), unmapped);
  }

  #prepared(live: LiveMapping): PreparedMapping {
    // It throws if the kernel has dropped all mappings, with the last device.
    this.placement();
    if (!live.backing.prepare || !isBrief(BigInt(live.size))) {
      throw new VfioError('ERR_VFIO_UNSUPPORTED', 'the mapping cannot be suspended', {
        hint: 'map() makes mappings that can, of at most 2 MiB; close others, and make them anew',
      });
    }
    live.prepared ??= live.backing.prepare(live.iova);
    return live.prepared;
  }

  #free(live: LiveMapping): void {
    if (this.mappings.delete(live)) this.#placement?.free(live.iova, live.size);
  }

  #farewell({ iova, size, backing }: LiveMapping): number | undefined {
    const { lent } = backing;
    return lent && this.#backend.farewell(iova, BigInt(size), lent);
  }
}

/** The size of memory, and the size of its pages. */
export type Sized = Omit<PagedSpan, 'iova'>;

/** The views of its memory, if the library has made it, are detached. */
function release({ backing: { range } }: LiveMapping): void {
  if (range !== undefined) native.rangeRelease(range);
}

function assertOpen(live: LiveMapping): void {
  if (live.closing || live.state === 'gone') throw closedError('DMA mapping');
}

function assertIdle(live: LiveMapping): void {
  if (!live.busy) return;
  const { EBUSY } = constants.errno;
  throw systemError(-EBUSY, `the mapping at IOVA 0x${live.iova.toString(16)} is being changed`, {
    hint: 'await dirty.last(), updateVaddr() or openDevice() first',
  });
}
