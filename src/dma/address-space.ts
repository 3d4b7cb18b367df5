/** An I/O address space: what the devices in it can reach by DMA. */
import { throwFirst } from '../all-done';
import { closedError, systemError, VfioError } from '../errors';
import type { IovaRange } from '../ioctl/container';
import { native } from '../native';
import { type ArenaOptions, createArena, type DmaArena } from './arena';
import type { BackendName, DmaBackend } from './backend';
import { DmaBuffer } from './buffer';
import { pieceSize } from './chunks';
import { DirtyTracker } from './dirty-tracker';
import { Ioas } from './ioas';
import type { Closable } from './live-mappings';
import { Mapper } from './mapper';
import type { DmaMapping, PagedSpan } from './mapping';
import { assertMemlock, readMemlock } from './memlock';
import { allocateMemory, assertPages, fileMemory, type Memory } from './memory';
import type { AllocOptions, DmaUsage, MapOptions, PeerOptions, PeerRegion } from './options';
import { IovaPlacement, type Placement } from './placement';
import { createPool, type DmaPool, type PoolOptions } from './pool';
import { type SharedMemory, sharedAddress } from './shared-memory';

export class AddressSpace implements AsyncDisposable {
  readonly dirty: DirtyTracker;
  readonly #backend: DmaBackend;
  readonly #mapper: Mapper;
  readonly #children = new Set<Closable>();
  /** Mappings under way: the descriptor outlives them. */
  #pending = 0;
  #onIdle = () => {};
  #closing: Promise<void> | undefined;

  /** Made by `openAddressSpace` and `openDevice`. */
  constructor(backend: DmaBackend) {
    this.#backend = backend;
    this.#mapper = new Mapper(backend);
    this.dirty = new DirtyTracker(
      backend.dirty,
      () => this.#assertReady(),
      (span, unmap) => this.#mapper.closeBy(span, unmap),
    );
  }

  /** What the kernel has for it; for those who attach devices. */
  get kernelSpace(): DmaBackend {
    return this.#backend;
  }

  /** The kernel's interface below. */
  get backend(): BackendName {
    return this.#backend.name;
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /** Usable IOVAs, both ends inclusive; undefined if the kernel does not report them. */
  get iovaRanges(): readonly IovaRange[] | undefined {
    return this.#assertReady().geometry.iovaRanges;
  }

  /** Bit n set: pages of 2^n bytes can be mapped. */
  get pageSizes(): bigint {
    return this.#assertReady().geometry.pageSizes;
  }

  usage(): DmaUsage {
    this.#assertReady();
    const { limit, locked } = readMemlock(this.#backend.accounting);
    return {
      mappings: this.#mapper.mappings.count,
      bytes: this.#mapper.mappings.bytes,
      mappingsLeft: this.#backend.entriesLeft(),
      memlockLimit: limit,
      memlockUsed: locked,
    };
  }

  /**
   * Zeroed memory, `size` rounded up to whole pages.
   * @throws ERR_VFIO_IOVA_SPACE, ERR_VFIO_IOVA_TAKEN, ERR_VFIO_IOVA_OUTSIDE, ENOMEM (memory, huge
   * pages or RLIMIT_MEMLOCK: the hint tells), ENOSPC (too many mappings), ERR_VFIO_CLOSED
   */
  alloc(size: number, options: AllocOptions = {}): Promise<DmaBuffer> {
    return this.#track(async () => {
      const { granule } = this.#assertReady();
      if (!Number.isSafeInteger(size) || size <= 0) {
        throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `not a size in bytes: ${size}`);
      }
      const whole = Math.ceil(size / granule) * granule;
      assertMemlock(whole, this.#backend.accounting);
      const memory = allocateMemory(whole, options.hugePages ?? 'no', options.hugePageSize);
      return this.#mapMemory(memory, options);
    });
  }

  /**
   * Whole pages of a file (a memfd, or a file on hugetlbfs or tmpfs) as memory of a buffer. The
   * descriptor can be closed afterwards.
   * @throws as `alloc`, and EBADF, ENXIO (behind the end of the file)
   */
  mapFile(fd: number, offset: number, size: number, options: MapOptions = {}): Promise<DmaBuffer> {
    return this.#track(async () => {
      this.#assertReady();
      assertPages('offset', offset);
      assertPages('size', size);
      assertMemlock(size, this.#backend.accounting);
      return this.#mapMemory(fileMemory(fd, offset, size), options);
    });
  }

  /**
   * Memory that the caller owns: whole pages of a SharedArrayBuffer, which can be neither detached
   * nor moved (that of a shared WebAssembly.Memory is page-aligned). It is kept alive until the
   * mapping is closed.
   * @throws as `alloc`, and ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_UNSUPPORTED without an IOMMU
   */
  map(memory: SharedMemory, options: MapOptions = {}): Promise<DmaMapping> {
    return this.#track(async () => {
      this.#assertReady();
      const vaddr = sharedAddress(memory);
      const size = memory.byteLength;
      assertMemlock(size, this.#backend.accounting);
      const at = { size, pageSize: native.pageSize };
      const { access = 'read-write' } = options;
      const prepare = (iova: bigint) => this.#backend.prepare(vaddr, iova, BigInt(size), access);
      return this.#mapper.place(
        at,
        options,
        (iova) => {
          // The closure is what keeps `memory` from the garbage collector.
          return this.#mapper.mapAddress(vaddr, iova, memory.byteLength, native.pageSize, options);
        },
        prepare,
      );
    });
  }

  /**
   * The memory of a mapping is at another address of this process now, that of `memory` (as large, and
   * with the same pages behind): devices go on undisturbed. For a process that takes over from another.
   * @throws ERR_VFIO_UNSUPPORTED unless the kernel has VFIO_UPDATE_VADDR, as containers may,
   * ERR_VFIO_INVALID_ARGUMENT
   */
  updateVaddr(mapping: PagedSpan, memory: SharedMemory): Promise<void> {
    return this.#track(async () => {
      this.#assertReady();
      const { iova, size, pageSize } = mapping;
      const [, live] = this.#mapper.mappings.find(mapping);
      const vaddr = sharedAddress(memory);
      if (memory.byteLength !== size) {
        throw new VfioError(
          'ERR_VFIO_INVALID_ARGUMENT',
          `the mapping has ${size} bytes, not ${memory.byteLength}`,
        );
      }
      if (!this.#backend.updateVaddr) {
        throw new VfioError('ERR_VFIO_UNSUPPORTED', `${this.backend} has no VFIO_UPDATE_VADDR`);
      }
      const piece = pieceSize(size, pageSize, live.options);
      for (let offset = 0; offset < size; offset += piece) {
        const at = BigInt(offset);
        const length = BigInt(Math.min(piece, size - offset));
        await this.#backend.updateVaddr(vaddr + at, iova + at, length);
      }
      // The closure is what keeps `memory` from the garbage collector.
      live.remap = () =>
        this.#mapper.mapAddress(sharedAddress(memory), iova, size, pageSize, live.options);
      const { access = 'read-write' } = live.options;
      live.prepare &&= () => this.#backend.prepare(vaddr, iova, BigInt(size), access);
      live.prepared = undefined;
    });
  }

  /**
   * Let the devices here reach a BAR, or whole pages of it. Close it before the region's device.
   * @throws as `alloc`, and ERR_VFIO_OUT_OF_RANGE, EFAULT where the kernel's interface has no way to,
   * ERR_VFIO_UNSUPPORTED without an IOMMU
   */
  mapRegion(region: PeerRegion, options: PeerOptions = {}): Promise<DmaMapping> {
    return this.#track(async () => {
      this.#assertReady();
      const { offset = 0, size = region.size - offset, access = 'read-write' } = options;
      assertPages('offset', offset);
      assertPages('size', size);
      if (offset + size > region.size) {
        throw new VfioError(
          'ERR_VFIO_OUT_OF_RANGE',
          `${size} bytes at ${offset} of a region of ${region.size}`,
        );
      }
      const at = { size, pageSize: native.pageSize };
      return this.#mapper.place(at, options, async (iova) => {
        if (!this.#backend.mapFile) {
          const vaddr = region.address + BigInt(offset);
          return this.#mapper.mapAddress(vaddr, iova, size, native.pageSize, options);
        }
        const fd = region.exportDmaBuf(offset, size);
        try {
          await this.#backend.mapFile(fd, 0n, iova, BigInt(size), access);
        } finally {
          native.close(fd);
        }
      });
    });
  }

  /**
   * Map here what `source`, a space of the same iommufd, has mapped: the memory is pinned once for
   * both. Each of the two mappings is closed by itself; the memory is that of the first.
   * @throws as `alloc`, and ERR_VFIO_UNSUPPORTED (a container), ERR_VFIO_OTHER_ADDRESS_SPACE
   */
  mapFrom(source: AddressSpace, mapping: PagedSpan, options: MapOptions = {}): Promise<DmaMapping> {
    return this.#track(async () => {
      const [from, to] = [source.#ioas(), this.#ioas()];
      const { access = 'read-write' } = options;
      return this.#mapper.place(mapping, options, (iova) => to.copy(from, mapping, iova, access));
    });
  }

  /**
   * Another space of the same iommufd: devices can be moved between the two, and mappings copied.
   * @throws ERR_VFIO_UNSUPPORTED on a container
   */
  sibling(): AddressSpace {
    return new AddressSpace(this.#ioas().sibling());
  }

  /**
   * Use `ranges` only, whatever devices come: one that cannot reach all of them is refused.
   * @throws ERR_VFIO_UNSUPPORTED on a container, EADDRINUSE if a device inside cannot reach them,
   * ERR_VFIO_IOVA_OUTSIDE if there is a mapping elsewhere
   */
  allowIovas(ranges: readonly IovaRange[]): void {
    const ioas = this.#ioas();
    // It throws before the kernel is asked.
    new IovaPlacement({ ...ioas.geometry(), iovaRanges: ranges }, this.#mapper.mappings.spans());
    ioas.allowIovas(ranges);
  }

  /** Buffers of one size on few mappings, taken and given back without allocating. */
  pool(options: PoolOptions & AllocOptions): Promise<DmaPool> {
    return createPool(this, options);
  }

  /** Small buffers of different sizes on one mapping. */
  arena(options: ArenaOptions & AllocOptions): Promise<DmaArena> {
    return createArena(this, options);
  }

  /** Close all buffers and mappings. */
  unmapAll(): Promise<void> {
    return this.#mapper.mappings.closeAll();
  }

  /**
   * A device or group has come in. The kernel may have narrowed the space or, after the last had
   * left, begun a new one that knows none of the mappings.
   */
  async joined(space: 'kept' | 'new'): Promise<void> {
    // It throws if a mapping is outside of the space as it is now.
    this.#mapper.placement();
    if (space === 'new') await this.#mapper.mappings.remapAll();
  }

  /** `child` depends on the space and is closed before it. */
  adopt(child: Closable): void {
    this.#children.add(child);
  }

  disown(child: Closable): void {
    this.#children.delete(child);
  }

  /** Close the devices inside, then all mappings, then the space, also if one of them fails. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const ends = await Promise.allSettled([...this.#children].map((child) => child.close()));
    await this.#idle();
    ends.push(...(await Promise.allSettled([this.unmapAll()])));
    try {
      this.#backend.close();
    } finally {
      throwFirst(ends);
    }
  }

  async #mapMemory(memory: Memory, options: MapOptions): Promise<DmaBuffer> {
    const { range, size, pageSize } = memory;
    try {
      const vaddr = native.rangeAddress(range) as bigint;
      const bytes = native.rangeBuffer(range, 0, size);
      if (typeof bytes === 'number') throw systemError(bytes, 'a view of DMA memory', {});
      const mapping = await this.#mapper.place(memory, options, (iova) =>
        this.#mapper.mapAddress(vaddr, iova, size, pageSize, options),
      );
      const buffer = new DmaBuffer(mapping, range, bytes);
      this.#mapper.mappings.setOwner(mapping, buffer);
      return buffer;
    } catch (error) {
      native.rangeRelease(range);
      throw error;
    }
  }

  async #track<T>(operation: () => Promise<T>): Promise<T> {
    this.#pending++;
    try {
      return await operation();
    } finally {
      if (--this.#pending === 0) this.#onIdle();
    }
  }

  /** Nothing is under way. */
  async #idle(): Promise<void> {
    if (this.#pending > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
  }

  /** For what only iommufd can. */
  #ioas(): Ioas {
    this.#assertReady();
    if (this.#backend instanceof Ioas) return this.#backend;
    throw new VfioError('ERR_VFIO_UNSUPPORTED', `an address space of ${this.backend} cannot`, {
      hint: "it takes iommufd: openAddressSpace({ backend: 'iommufd' })",
    });
  }

  #assertReady(): Placement {
    if (this.#closing) throw closedError('address space');
    return this.#mapper.placement();
  }
}
