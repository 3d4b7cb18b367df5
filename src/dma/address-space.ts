/** An I/O address space: what the devices in it can reach by DMA. */
import { throwFirst } from '../all-done';
import { closedError, shown, systemError, VfioError } from '../errors';
import type { IovaRange } from '../ioctl/container';
import { native } from '../native';
import { type ArenaOptions, createArena, type DmaArena } from './arena';
import type { BackendName, DmaBackend } from './backend';
import { type Backing, copiedMemory, peerMemory, processMemory } from './backing';
import { DmaBuffer } from './buffer';
import { DirtyTracker } from './dirty-tracker';
import { Ioas } from './ioas';
import type { Closable } from './live-mappings';
import { Mapper, type Sized } from './mapper';
import { DmaMapping, type PagedSpan } from './mapping';
import { assertMemlock, readMemlock } from './memlock';
import { addressOf, allocateMemory, assertPages, fileMemory, type Memory } from './memory';
import {
  type AllocOptions,
  checked,
  checkedRanges,
  type DmaUsage,
  type MapOptions,
  type PeerOptions,
} from './options';
import { type PeerRegion, peerOf } from './peer-region';
import { IovaPlacement, type Placement } from './placement';
import { createPool, type DmaPool, type PoolOptions } from './pool';
import { type SharedMemory, sharedMemory } from './shared-memory';

export class AddressSpace implements AsyncDisposable {
  readonly dirty: DirtyTracker;
  readonly #backend: DmaBackend;
  readonly #mapper: Mapper;
  readonly #children = new Set<Closable>();
  /** Groups and devices that are attached to the kernel's space, or about to be. */
  readonly #members = new Set<object>();
  #onEmpty = () => {};
  #closing: Promise<void> | undefined;

  /** Made by `openAddressSpace` and `openDevice`. */
  constructor(backend: DmaBackend) {
    this.#backend = backend;
    this.#mapper = new Mapper(backend);
    this.dirty = new DirtyTracker(backend.dirty, this.#mapper, () => this.#assertReady());
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
    const memlock = readMemlock(this.#backend.accounting);
    return {
      mappings: this.#mapper.mappings.count,
      bytes: this.#mapper.mappings.bytes,
      mappingsLeft: this.#backend.entriesLeft(),
      memlockLimit: memlock?.limit,
      memlockUsed: memlock?.locked,
    };
  }

  /**
   * Zeroed memory, `size` rounded up to whole pages.
   * @throws ERR_VFIO_IOVA_SPACE, ERR_VFIO_IOVA_TAKEN, ERR_VFIO_IOVA_OUTSIDE, ENOMEM (memory, huge
   * pages or RLIMIT_MEMLOCK: the hint tells), ENOSPC (too many mappings), ERR_VFIO_CLOSED
   */
  alloc(size: number, options: AllocOptions = {}): Promise<DmaBuffer> {
    return this.#share(async () => {
      const { granule } = this.#assertReady();
      const how = checked(options);
      if (!Number.isSafeInteger(size) || size <= 0) {
        throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `not a size in bytes: ${shown(size)}`);
      }
      const whole = Math.ceil(size / granule) * granule;
      assertMemlock(whole, this.#backend.accounting);
      const memory = allocateMemory(whole, how.hugePages ?? 'no', how.hugePageSize);
      return this.#mapMemory(memory, how);
    });
  }

  /**
   * Whole pages of a file (a memfd, or a file on hugetlbfs or tmpfs) as memory of a buffer: `offset` and
   * `size` in bytes, multiples of the file's page size. The descriptor, which must be open for reading
   * and writing, can be closed afterwards.
   * @throws as `alloc`, and EBADF, EACCES (not open for writing), ENXIO (behind the end of the file)
   */
  mapFile(fd: number, offset: number, size: number, options: MapOptions = {}): Promise<DmaBuffer> {
    return this.#share(async () => {
      this.#assertReady();
      const how = checked(options);
      assertPages(offset, size);
      assertMemlock(size, this.#backend.accounting);
      return this.#mapMemory(fileMemory(fd, offset, size), how);
    });
  }

  /**
   * Memory that the caller owns: whole pages of a SharedArrayBuffer, which can be neither detached
   * nor moved (that of a shared WebAssembly.Memory is page-aligned). It is kept alive until the
   * mapping is closed. What a growable one gains later is not mapped.
   * @throws as `alloc`, and ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_UNSUPPORTED without an IOMMU
   */
  map(memory: SharedMemory, options: MapOptions = {}): Promise<DmaMapping> {
    return this.#share(async () => {
      this.#assertReady();
      const how = checked(options);
      const shared = sharedMemory(memory);
      const { size } = shared;
      assertMemlock(size, this.#backend.accounting);
      const backing = processMemory(this.#backend, shared, how.access);
      return this.#place({ size, pageSize: native.pageSize }, how, backing);
    });
  }

  /**
   * The memory of a mapping is at another address of this process now, that of `memory` (as large, and
   * with the same pages behind): devices go on undisturbed. For a process that takes over from another.
   * @throws ERR_VFIO_UNSUPPORTED unless the kernel has VFIO_UPDATE_VADDR, as containers may,
   * ERR_VFIO_INVALID_ARGUMENT
   */
  async updateVaddr(mapping: PagedSpan, memory: SharedMemory): Promise<void> {
    await this.#mapper.change(mapping, async (live) => {
      this.#assertReady();
      const shared = sharedMemory(memory);
      const { iova, size, piece, mapped } = live;
      if (shared.size !== size) {
        throw new VfioError(
          'ERR_VFIO_INVALID_ARGUMENT',
          `the mapping has ${size} bytes, not ${shared.size}`,
        );
      }
      if (!this.#backend.updateVaddr) {
        throw new VfioError('ERR_VFIO_UNSUPPORTED', `${this.backend} has no VFIO_UPDATE_VADDR`);
      }
      for (let offset = 0; offset < mapped; offset += piece) {
        const at = BigInt(offset);
        const length = BigInt(Math.min(piece, size - offset));
        await this.#backend.updateVaddr(shared.vaddr + at, iova + at, length);
      }
      const { access, range } = live.backing;
      const backing = { ...processMemory(this.#backend, shared, access), range };
      this.#mapper.rebacked(live, backing);
    });
  }

  /**
   * Let the devices here reach a BAR, or whole pages of it. Close it before the region's device.
   * @throws as `alloc`, and ERR_VFIO_OUT_OF_RANGE, EFAULT where the kernel's interface has no way to,
   * ERR_VFIO_UNSUPPORTED without an IOMMU
   */
  mapRegion(region: PeerRegion, options: PeerOptions = {}): Promise<DmaMapping> {
    return this.#share(async () => {
      this.#assertReady();
      const how = checked(options);
      const peer = peerOf(region);
      const { offset = 0, size = peer.size - offset } = how;
      assertPages(offset, size);
      if (offset + size > peer.size) {
        throw new VfioError(
          'ERR_VFIO_OUT_OF_RANGE',
          `${size} bytes at ${offset} of a region of ${peer.size}`,
        );
      }
      const backing = peerMemory(this.#backend, peer, offset, how.access);
      return this.#place({ size, pageSize: native.pageSize }, how, backing);
    });
  }

  /**
   * Map here what `source`, a space of the same iommufd, has mapped: the memory is pinned once for
   * both. Each of the two mappings is closed by itself; the memory is that of the first.
   * @throws as `alloc`, and ERR_VFIO_UNSUPPORTED (a container), ERR_VFIO_OTHER_ADDRESS_SPACE
   */
  mapFrom(source: AddressSpace, mapping: PagedSpan, options: MapOptions = {}): Promise<DmaMapping> {
    return this.#share(async () => {
      const to = this.#ioas();
      const how = checked(options);
      if (!(source instanceof AddressSpace)) {
        throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'the source is no address space');
      }
      const from = source.#ioas();
      to.assertSibling(from);
      const { iova, size, pageSize } = source.#mapper.mappings.find(mapping);
      const backing = copiedMemory(from, to, iova, how.access);
      return this.#place({ size, pageSize }, how, backing);
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
    const iovaRanges = checkedRanges(ranges);
    // It throws before the kernel is asked.
    new IovaPlacement({ ...ioas.geometry(), iovaRanges }, this.#mapper.mappings);
    ioas.allowIovas(iovaRanges);
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
    return this.#mapper.closeAll();
  }

  /**
   * Internal: attach a group or device (`member`) to the kernel's space, while nothing is mapped or
   * unmapped; then mappings that the kernel dropped with its last member are there again. Each call is
   * paid back by one of `leave`, also after a failure.
   * @throws what `attach` throws, ERR_VFIO_IOVA_OUTSIDE if a mapping is outside of the space as it is then,
   * ERR_VFIO_CLOSED
   */
  async join(member: object, attach: () => Promise<void>): Promise<void> {
    await this.#mapper.join(async () => {
      this.#assertOpen();
      this.#members.add(member);
      await attach();
    });
    // It waits for `member` to leave.
    this.#assertOpen();
  }

  /** Internal: detach what `join` has attached, once. The space is closed after that only. */
  leave(member: object, detach: () => Promise<void> = async () => {}): Promise<void> {
    return this.#mapper.turn.alone(async () => {
      if (!this.#members.has(member)) return;
      try {
        await detach();
      } finally {
        this.#members.delete(member);
        if (this.#members.size === 0) this.#onEmpty();
      }
    });
  }

  /**
   * Internal: that the space can be used, also if a device has narrowed it.
   * @throws ERR_VFIO_IOVA_OUTSIDE if a mapping is outside of it, ERR_VFIO_INVALID_ARGUMENT without a
   * device, ERR_VFIO_CLOSED
   */
  assertUsable(): void {
    this.#assertReady();
  }

  /** `child` depends on the space and is closed before it. @throws ERR_VFIO_CLOSED */
  adopt(child: Closable): void {
    this.#assertOpen();
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
    await this.#empty();
    try {
      await this.#mapper.end();
    } finally {
      throwFirst(ends);
    }
  }

  async #mapMemory(memory: Memory, options: MapOptions): Promise<DmaBuffer> {
    const { range, size } = memory;
    try {
      const bytes = native.rangeBuffer(range, 0, size);
      if (typeof bytes === 'number') throw systemError(bytes, 'a view of DMA memory', {});
      const vaddr = addressOf(range);
      const backing = processMemory(this.#backend, { vaddr, size }, options.access);
      const { map, access } = backing;
      const live = await this.#mapper.place(memory, options, { map, access, range });
      return new DmaBuffer(live, this.#mapper, bytes);
    } catch (error) {
      native.rangeRelease(range);
      throw error;
    }
  }

  async #place(memory: Sized, options: MapOptions, backing: Backing): Promise<DmaMapping> {
    return new DmaMapping(await this.#mapper.place(memory, options, backing), this.#mapper);
  }

  #share<T>(operation: () => Promise<T>): Promise<T> {
    return this.#mapper.turn.share(operation);
  }

  /** Nothing is attached. */
  async #empty(): Promise<void> {
    if (this.#members.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }

  /** For what only iommufd can. */
  #ioas(): Ioas {
    this.#assertReady();
    if (this.#backend instanceof Ioas) return this.#backend;
    throw new VfioError('ERR_VFIO_UNSUPPORTED', `an address space of ${this.backend} cannot`, {
      hint: "it takes iommufd: openAddressSpace({ backend: 'iommufd' })",
    });
  }

  #assertOpen(): void {
    if (this.#closing) throw closedError('address space');
  }

  #assertReady(): Placement {
    this.#assertOpen();
    return this.#mapper.placement();
  }
}
