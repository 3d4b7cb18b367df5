/** An I/O address space of iommufd (IOAS). */
import { isErrno, VfioError } from '../errors';
import * as abi from '../ioctl/abi/iommufd-constants';
import type { IovaRange } from '../ioctl/container';
import { iommuDestroy, iommuOptionSet } from '../ioctl/iommufd';
import * as ioctl from '../ioctl/iommufd-ioas';
import { native } from '../native';
import type { DmaAccess, DmaBackend, Geometry, PreparedMapping } from './backend';
import { type IoasDevice, IoasDirtyTracking } from './ioas-dirty';
import { Iommufd } from './iommufd';
import type { MemlockAccounting } from './memlock';

export interface IoasOptions {
  /** 'single': the IOMMU's page tables have its smallest pages only, which tells dirty pages apart; 'largest' unless given. */
  readonly ioPages?: 'largest' | 'single';
  /** Whose RLIMIT_MEMLOCK pinned memory counts against. */
  readonly accounting?: MemlockAccounting | undefined;
}

export class Ioas implements DmaBackend {
  readonly name = 'iommufd';
  readonly id: number;
  readonly dirty: IoasDirtyTracking;
  readonly #iommufd: Iommufd;
  readonly #devices = new Set<IoasDevice>();
  readonly #options: IoasOptions;
  #geometry: Geometry;
  /** What allowIovas() was told. */
  #allowed: readonly IovaRange[] | undefined;

  private constructor(iommufd: Iommufd, { ioPages = 'largest' }: IoasOptions) {
    this.#iommufd = iommufd.use();
    this.#options = { ioPages };
    let made: number | undefined;
    try {
      made = ioctl.iommuIoasAlloc(iommufd.fd);
      this.id = made;
      if (ioPages === 'single') {
        iommuOptionSet(iommufd.fd, abi.IOMMU_OPTION_HUGE_PAGES, this.id, 0n);
      }
      this.#geometry = this.#readGeometry();
      this.dirty = new IoasDirtyTracking(iommufd.fd, this.id, this.#devices);
    } catch (error) {
      // Others may keep the iommufd open.
      if (made !== undefined) attempt(() => iommuDestroy(iommufd.fd, made!));
      iommufd.release();
      throw error;
    }
  }

  static open(options: IoasOptions = {}): Ioas {
    return new Ioas(Iommufd.open(options.accounting), options);
  }

  /** On a /dev/iommu that was opened elsewhere; owned from now on. */
  static from(fd: number, options: IoasOptions = {}): Ioas {
    return new Ioas(Iommufd.from(fd, options.accounting), options);
  }

  /** Another space of the same iommufd: devices can move between the two. */
  sibling(): Ioas {
    return new Ioas(this.#iommufd, this.#options);
  }

  get accounting(): MemlockAccounting {
    return this.#iommufd.accounting;
  }

  /** Its descriptor. */
  get iommufd(): number {
    return this.#iommufd.fd;
  }

  /**
   * A device that is attached from now on: it may narrow the space, and what it writes to is noted if
   * that is on. @throws ERR_VFIO_UNSUPPORTED if its IOMMU cannot; it is not added then
   */
  async addDevice(device: IoasDevice): Promise<void> {
    this.#devices.add(device);
    try {
      this.refresh();
      await this.dirty.include(device);
    } catch (error) {
      attempt(() => this.removeDevice(device));
      throw error;
    }
  }

  /** What is attached, by whatever way, may have narrowed the space. */
  refresh(): void {
    this.#geometry = this.#readGeometry();
  }

  removeDevice(device: IoasDevice): void {
    this.#devices.delete(device);
    this.dirty.forget(device);
  }

  geometry(): Geometry {
    return this.#geometry;
  }

  async map(vaddr: bigint, iova: bigint, size: bigint, access: DmaAccess): Promise<void> {
    await ioctl.iommuIoasMap(this.iommufd, vaddr, this.#mapping(iova, size, access));
  }

  prepare(vaddr: bigint, iova: bigint, size: bigint, access: DmaAccess): PreparedMapping {
    return {
      map: ioctl.prepareIoasMap(this.iommufd, vaddr, this.#mapping(iova, size, access)),
      unmap: ioctl.prepareIoasUnmap(this.iommufd, this.id, iova, size),
    };
  }

  async mapFile(
    fd: number,
    start: bigint,
    iova: bigint,
    size: bigint,
    access: DmaAccess,
  ): Promise<void> {
    await ioctl.iommuIoasMapFile(this.iommufd, { fd, start }, this.#mapping(iova, size, access));
  }

  /** @throws ERR_VFIO_OTHER_ADDRESS_SPACE */
  assertSibling(other: Ioas): void {
    if (other.#iommufd === this.#iommufd) return;
    throw new VfioError('ERR_VFIO_OTHER_ADDRESS_SPACE', 'the address space is of another iommufd', {
      hint: 'make it by sibling(): spaces of one iommufd share devices and mappings',
    });
  }

  /** Map what another space of the iommufd maps. @throws ERR_VFIO_OTHER_ADDRESS_SPACE, ENOENT */
  async copy(
    from: Ioas,
    source: { iova: bigint; size: number },
    iova: bigint,
    access: DmaAccess,
  ): Promise<void> {
    this.assertSibling(from);
    const mapping = this.#mapping(iova, BigInt(source.size), access);
    await ioctl.iommuIoasCopy(this.iommufd, { ioasId: from.id, iova: source.iova }, mapping);
  }

  allowIovas(ranges: readonly IovaRange[]): void {
    ioctl.iommuIoasAllowIovas(this.iommufd, this.id, ranges);
    this.#allowed = ranges;
    this.refresh();
  }

  async unmap(iova: bigint, size: bigint): Promise<bigint> {
    try {
      return await ioctl.iommuIoasUnmap(this.iommufd, this.id, iova, size);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return 0n;
      throw error;
    }
  }

  farewell(iova: bigint, size: bigint, memory: Uint8Array): number {
    return ioctl.farewellIoasUnmap(this.iommufd, this.id, iova, size, memory);
  }

  unmapAll(): Promise<bigint> {
    return ioctl.iommuIoasUnmapAll(this.iommufd, this.id);
  }

  /** Memory is the only limit. */
  entriesLeft(): undefined {
    return undefined;
  }

  /** @throws EBUSY while a page table of a device is one of it; the iommufd then keeps it to its end */
  close(): void {
    try {
      iommuDestroy(this.iommufd, this.id);
    } finally {
      this.#iommufd.release();
    }
  }

  #mapping(iova: bigint, length: bigint, access: DmaAccess): ioctl.IoasMapping {
    const flags =
      (access === 'write' ? 0 : abi.IOMMU_IOAS_MAP_READABLE) |
      (access === 'read' ? 0 : abi.IOMMU_IOAS_MAP_WRITEABLE);
    return { ioasId: this.id, length, flags, iova };
  }

  #readGeometry(): Geometry {
    const { ranges, alignment } = ioctl.iommuIoasIovaRanges(this.iommufd, this.id);
    // From the alignment up: iommufd itself splits mappings into what the IOMMU has.
    const smallest = alignment > BigInt(native.pageSize) ? alignment : BigInt(native.pageSize);
    return { iovaRanges: this.#allowed ?? ranges, pageSizes: BigInt.asUintN(64, -smallest) };
  }
}

/** To undo what goes with the iommufd at the latest; another error is on its way. */
function attempt(undo: () => void): void {
  try {
    undo();
  } catch {}
}
