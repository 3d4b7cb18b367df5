/** A VFIO container with a type1 IOMMU: the address space of the group interface. */
import { constants as fsConstants, readFileSync } from 'node:fs';
import { check, closedError, isErrno, systemError, VfioError } from '../errors';
import { hints } from '../hints';
import * as abi from '../ioctl/constants';
import * as ioctl from '../ioctl/container';
import { groupSetContainer, groupUnsetContainer } from '../ioctl/group';
import { MEMORY_ANONYMOUS, native, PROT_READ, PROT_WRITE } from '../native';
import type { AddressSpace } from './address-space';
import { DmaBuffer, type DmaMapping } from './buffer';
import { IovaAllocator, type IovaConstraints } from './iova-allocator';

const CONTAINER_PATH = '/dev/vfio/vfio';
const READ_WRITE = abi.VFIO_DMA_MAP_FLAG_READ | abi.VFIO_DMA_MAP_FLAG_WRITE;

interface Closable {
  close(): Promise<void>;
}

export class Container implements AddressSpace, AsyncDisposable {
  readonly #fd: number;
  readonly #iommuType: number;
  /** Descriptors of the groups inside. */
  readonly #groups = new Set<number>();
  readonly #buffers = new Map<DmaBuffer, DmaMapping>();
  /** Allocations under way: the descriptor outlives them. */
  readonly #pending = new Set<Promise<void>>();
  readonly #children = new Set<Closable>();
  #iommu: { info: ioctl.IommuInfo; allocator: IovaAllocator } | undefined;
  #closing: Promise<void> | undefined;

  private constructor(fd: number, iommuType: number) {
    this.#fd = fd;
    this.#iommuType = iommuType;
  }

  /**
   * A new, empty container.
   * @throws ERR_VFIO_UNAVAILABLE without VFIO in the kernel, EACCES without the right to open it
   */
  static open(): Container {
    const fd = native.open(CONTAINER_PATH, fsConstants.O_RDWR);
    if (fd < 0) {
      const details = { syscall: 'open', path: CONTAINER_PATH, hint: hints.modulesMissing() };
      const error = systemError(fd, `open ${CONTAINER_PATH}`, details);
      if (!['ENOENT', 'ENODEV', 'ENXIO'].includes(error.code)) throw error;
      throw new VfioError('ERR_VFIO_UNAVAILABLE', `there is no ${CONTAINER_PATH}`, {
        ...details,
        errno: -fd,
        cause: error,
      });
    }
    try {
      const version = ioctl.getApiVersion(fd);
      const types = [abi.VFIO_TYPE1v2_IOMMU, abi.VFIO_TYPE1_IOMMU];
      const type = types.find((type) => ioctl.checkExtension(fd, type) > 0);
      if (version !== abi.VFIO_API_VERSION || type === undefined) {
        throw new VfioError(
          'ERR_VFIO_UNAVAILABLE',
          `no type1 IOMMU in VFIO (API version ${version})`,
          { path: CONTAINER_PATH, hint: hints.modulesMissing() },
        );
      }
      return new Container(fd, type);
    } catch (error) {
      native.close(fd);
      throw error;
    }
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  get iovaRanges(): readonly ioctl.IovaRange[] | undefined {
    return this.#attached().info.iovaRanges;
  }

  get pageSizes(): bigint {
    return this.#attached().info.pageSizes;
  }

  /** Groups attached now. */
  get groupCount(): number {
    return this.#groups.size;
  }

  /** How many mappings can still be made; undefined if the kernel does not tell (before 5.10). */
  get mappingsLeft(): number | undefined {
    this.#attached();
    return ioctl.iommuGetInfo(this.#fd).dmaAvail;
  }

  /**
   * Bring in a group by its descriptor. The kernel forgets IOMMU and mappings when the last group
   * leaves, so the first group to come (back) sets both up.
   * @throws EPERM (group not viable), EINVAL (it has a container already)
   */
  async attachGroup(groupFd: number): Promise<void> {
    if (this.#closing) throw closedError('container');
    groupSetContainer(groupFd, this.#fd);
    this.#groups.add(groupFd);
    if (this.#groups.size > 1) return;
    try {
      ioctl.setIommu(this.#fd, this.#iommuType);
      const info = ioctl.iommuGetInfo(this.#fd);
      this.#iommu ??= { info, allocator: new IovaAllocator(info.iovaRanges, native.pageSize) };
      for (const mapping of this.#buffers.values()) await this.#map(mapping);
    } catch (error) {
      this.detachGroup(groupFd);
      throw error;
    }
  }

  /** Its devices must be closed. @throws EBUSY if one is open */
  detachGroup(groupFd: number): void {
    if (!this.#groups.has(groupFd)) return;
    groupUnsetContainer(groupFd);
    this.#groups.delete(groupFd);
  }

  alloc(size: number, constraints: IovaConstraints = {}): Promise<DmaBuffer> {
    const buffer = this.#alloc(size, constraints);
    const settled = buffer.then(
      () => {},
      () => {},
    );
    this.#pending.add(settled);
    settled.then(() => this.#pending.delete(settled));
    return buffer;
  }

  async #alloc(size: number, constraints: IovaConstraints): Promise<DmaBuffer> {
    const { allocator } = this.#attached();
    const { alignment = native.pageSize } = constraints;
    if (!Number.isSafeInteger(size) || size <= 0) {
      throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `not a size in bytes: ${size}`);
    }
    if (!Number.isSafeInteger(Math.log2(alignment))) {
      throw new VfioError(
        'ERR_VFIO_INVALID_ARGUMENT',
        `alignment is no power of two: ${alignment}`,
      );
    }
    const whole = Math.ceil(size / native.pageSize) * native.pageSize;
    const range = reserveMemory(whole);
    let iova: bigint | undefined;
    try {
      iova = allocator.allocate(whole, constraints);
      const mapping = {
        range,
        size: whole,
        iova,
        unmap: async () => {
          this.#buffers.delete(buffer);
          // Without a group there is no IOMMU, and the kernel has dropped the mapping.
          if (this.#groups.size > 0)
            await ioctl.iommuUnmapDma(this.#fd, mapping.iova, BigInt(whole));
          allocator.free(mapping.iova, whole);
        },
      };
      await this.#map(mapping);
      const buffer = new DmaBuffer(mapping, native.rangeBuffer(range, 0, whole) as ArrayBuffer);
      this.#buffers.set(buffer, mapping);
      return buffer;
    } catch (error) {
      native.rangeRelease(range);
      if (iova !== undefined) allocator.free(iova, whole);
      throw error;
    }
  }

  /** `child` depends on the container and is closed before it. */
  adopt(child: Closable): void {
    this.#children.add(child);
  }

  disown(child: Closable): void {
    this.#children.delete(child);
  }

  /** Close the devices inside, then all buffers, then the container. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.close()));
    await Promise.all(this.#pending);
    await Promise.all([...this.#buffers.keys()].map((buffer) => buffer.close()));
    check(native.close(this.#fd), 'close container', { syscall: 'close', path: CONTAINER_PATH });
  }

  #attached() {
    if (this.#closing) throw closedError('container');
    if (!this.#iommu) {
      throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'the container has no IOMMU yet', {
        hint: 'an IOMMU comes with the first group: open a device in the container first',
      });
    }
    return this.#iommu;
  }

  async #map({ range, iova, size }: DmaMapping | Omit<DmaMapping, 'unmap'>): Promise<void> {
    try {
      const vaddr = native.rangeAddress(range) as bigint;
      await ioctl.iommuMapDma(this.#fd, vaddr, iova, BigInt(size), READ_WRITE);
    } catch (error) {
      if (!isErrno(error, 'ENOMEM')) throw error;
      throw systemError(-(error as VfioError).errno!, `mapping ${size} bytes for DMA`, {
        syscall: 'ioctl',
        ioctl: 'VFIO_IOMMU_MAP_DMA',
        hint: hints.memlock(size, memlockLimit()),
        cause: error,
      });
    }
  }
}

function reserveMemory(size: number): number {
  const details = { syscall: 'mmap' };
  const range = check(
    native.rangeReserve(size, native.pageSize),
    `reserving ${size} bytes`,
    details,
  );
  const protection = PROT_READ | PROT_WRITE;
  const mapped = native.rangeMap(range, 0, size, MEMORY_ANONYMOUS, protection, -1, 0);
  if (mapped < 0) {
    native.rangeRelease(range);
    throw systemError(mapped, `mapping ${size} bytes of memory`, details);
  }
  return range;
}

/** The soft limit as /proc has it: bytes, or `unlimited`. */
function memlockLimit(): string {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  return /^Max locked memory\s+(\S+)/m.exec(limits)?.[1] ?? 'unknown';
}
