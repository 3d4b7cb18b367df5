/** Makes the mappings of an address space: each finds its place, is made there, and gives it back in the end. */
import { VfioError } from '../errors';
import { isBrief } from '../ioctl/call';
import type { DmaBackend, PreparedMapping } from './backend';
import { mapInChunks } from './chunks';
import { explainMapError } from './explain';
import { type LiveMapping, LiveMappings } from './live-mappings';
import { DmaMapping, type IovaSpan } from './mapping';
import type { MapOptions } from './options';
import { PhysicalPlacement } from './physical';
import { IovaPlacement, type Placeable, type Placement } from './placement';

export class Mapper {
  readonly mappings = new LiveMappings();
  readonly #backend: DmaBackend;
  #placement: Placement | undefined;

  constructor(backend: DmaBackend) {
    this.#backend = backend;
  }

  /**
   * Where mappings go in the space as the kernel has it now.
   * @throws ERR_VFIO_INVALID_ARGUMENT if it has none, ERR_VFIO_IOVA_OUTSIDE if a mapping is outside of it
   */
  placement(): Placement {
    const geometry = this.#backend.geometry();
    if (!geometry) {
      throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'the address space has no IOMMU', {
        hint: 'an IOMMU comes with the first device and goes with the last: open one in this address space first',
      });
    }
    // Each device that comes may narrow the space, and one after the last may begin another.
    if (this.#placement?.geometry !== geometry) {
      this.#placement = this.#backend.physical
        ? new PhysicalPlacement(geometry)
        : new IovaPlacement(geometry, this.mappings.spans());
    }
    return this.#placement;
  }

  /** Find an address, map there, and take it back when the mapping is closed. */
  async place(
    memory: Placeable,
    options: MapOptions,
    map: (iova: bigint) => Promise<void>,
    prepare?: (iova: bigint) => PreparedMapping,
  ): Promise<DmaMapping> {
    const { size, pageSize } = memory;
    const { mappings } = this;
    const placement = this.placement();
    const iova = placement.take(memory, options, mappings.spans());
    const mapping: DmaMapping = new DmaMapping(
      { iova, size, pageSize },
      { close: () => this.#close(mapping), prepared: () => this.#prepared(live) },
    );
    mappings.reserve(mapping);
    try {
      await map(iova);
    } catch (error) {
      this.#free(mapping);
      const { accounting } = this.#backend;
      throw explainMapError(error, mapping, placement.geometry, mappings.spans(), accounting);
    }
    const live: LiveMapping = {
      prepare: prepare && isBrief(BigInt(size)) ? () => prepare(iova) : undefined,
      remap: () => map(iova),
      unmap: () => this.#backend.unmap(iova, BigInt(size)),
      options,
      owner: mapping,
    };
    mappings.add(mapping, live);
    return mapping;
  }

  /** Map memory of the process. */
  mapAddress(
    vaddr: bigint,
    iova: bigint,
    size: number,
    pageSize: number,
    { access = 'read-write', ...progress }: MapOptions,
  ): Promise<void> {
    return mapInChunks(
      size,
      pageSize,
      progress,
      (offset, length) => {
        const at = BigInt(offset);
        return this.#backend.map(vaddr + at, iova + at, BigInt(length), access);
      },
      (length) => this.#backend.unmap(iova, BigInt(length)),
    );
  }

  /** Close the mapping at a place by another way to unmap it. @throws ERR_VFIO_INVALID_ARGUMENT */
  async closeBy(span: IovaSpan, unmap: () => Promise<void>): Promise<void> {
    const [mapping, live] = this.mappings.find(span);
    await unmap();
    live.unmap = async () => {};
    await mapping.close();
  }

  #prepared(live: LiveMapping): PreparedMapping {
    // It throws if the kernel has dropped all mappings, with the last device.
    this.placement();
    if (!live.prepare) {
      throw new VfioError('ERR_VFIO_UNSUPPORTED', 'the mapping cannot be suspended', {
        hint: 'map() makes mappings that can, of at most 2 MiB; close others, and make them anew',
      });
    }
    live.prepared ??= live.prepare();
    return live.prepared;
  }

  async #close(mapping: DmaMapping): Promise<void> {
    const live = this.mappings.retire(mapping);
    // Without a device there is no IOMMU, and the kernel has dropped the mapping.
    if (this.#backend.geometry() && !mapping.suspended) await live.unmap();
    this.#free(mapping);
  }

  #free(mapping: DmaMapping): void {
    this.mappings.delete(mapping);
    this.#placement?.free(mapping.iova, mapping.size);
  }
}
