/** An I/O address space of iommufd (IOAS). */
import { isErrno } from '../errors';
import { iommuDestroy } from '../ioctl/iommufd';
import { IOMMU_IOAS_MAP_READABLE, IOMMU_IOAS_MAP_WRITEABLE } from '../ioctl/iommufd-constants';
import * as ioctl from '../ioctl/iommufd-ioas';
import { native } from '../native';
import type { DmaAccess, DmaBackend, Geometry } from './backend';
import { type IoasDevice, IoasDirtyTracking } from './ioas-dirty';
import { Iommufd } from './iommufd';

export class Ioas implements DmaBackend {
  readonly name = 'iommufd';
  readonly id: number;
  readonly dirty: IoasDirtyTracking;
  readonly #iommufd: Iommufd;
  readonly #devices = new Set<IoasDevice>();
  #geometry: Geometry;

  private constructor(iommufd: Iommufd) {
    this.#iommufd = iommufd.use();
    try {
      this.id = ioctl.iommuIoasAlloc(iommufd.fd);
      this.#geometry = this.#readGeometry();
      this.dirty = new IoasDirtyTracking(iommufd.fd, this.id, this.#devices);
    } catch (error) {
      iommufd.release();
      throw error;
    }
  }

  static open(): Ioas {
    return new Ioas(Iommufd.open());
  }

  /** On a /dev/iommu that was opened elsewhere; owned from now on. */
  static from(fd: number): Ioas {
    return new Ioas(new Iommufd(fd));
  }

  /** Another space of the same iommufd: devices can move between the two. */
  sibling(): Ioas {
    return new Ioas(this.#iommufd);
  }

  /** Its descriptor. */
  get iommufd(): number {
    return this.#iommufd.fd;
  }

  /** A device that is attached from now on: it may narrow the space. */
  addDevice(device: IoasDevice): void {
    this.#devices.add(device);
    this.#geometry = this.#readGeometry();
  }

  removeDevice(device: IoasDevice): void {
    this.dirty.forget(device);
    this.#devices.delete(device);
  }

  geometry(): Geometry {
    return this.#geometry;
  }

  async map(vaddr: bigint, iova: bigint, size: bigint, access: DmaAccess): Promise<void> {
    await ioctl.iommuIoasMap(this.iommufd, vaddr, this.#mapping(iova, size, access));
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

  async unmap(iova: bigint, size: bigint): Promise<bigint> {
    try {
      return await ioctl.iommuIoasUnmap(this.iommufd, this.id, iova, size);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return 0n;
      throw error;
    }
  }

  unmapAll(): Promise<bigint> {
    return ioctl.iommuIoasUnmapAll(this.iommufd, this.id);
  }

  /** Memory is the only limit. */
  entriesLeft(): undefined {
    return undefined;
  }

  close(): void {
    iommuDestroy(this.iommufd, this.id);
    this.#iommufd.release();
  }

  #mapping(iova: bigint, length: bigint, access: DmaAccess): ioctl.IoasMapping {
    const flags =
      (access === 'write' ? 0 : IOMMU_IOAS_MAP_READABLE) |
      (access === 'read' ? 0 : IOMMU_IOAS_MAP_WRITEABLE);
    return { ioasId: this.id, length, flags, iova };
  }

  #readGeometry(): Geometry {
    const { ranges, alignment } = ioctl.iommuIoasIovaRanges(this.iommufd, this.id);
    // From the alignment up: iommufd itself splits mappings into what the IOMMU has.
    const smallest = alignment > BigInt(native.pageSize) ? alignment : BigInt(native.pageSize);
    return { iovaRanges: ranges, pageSizes: BigInt.asUintN(64, -smallest) };
  }
}
