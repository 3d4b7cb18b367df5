/** A VFIO container: the address space of the group interface, with a type1 IOMMU or none. */
import { constants as fsConstants } from 'node:fs';
import { isErrno, systemError, VfioError } from '../errors';
import { hints } from '../hints';
import * as abi from '../ioctl/abi/constants';
import { IOMMU_OPTION_RLIMIT_MODE } from '../ioctl/abi/iommufd-constants';
import * as ioctl from '../ioctl/container';
import { groupSetContainer, groupUnsetContainer } from '../ioctl/group';
import { iommuOptionGet } from '../ioctl/iommufd';
import { native } from '../native';
import {
  accessFlags,
  type BackendName,
  type DirtyTracking,
  type DmaAccess,
  type DmaBackend,
  type Geometry,
  noIommu,
  type PreparedMapping,
} from './backend';
import { containerDirtyTracking } from './container-dirty';
import type { MemlockAccounting } from './memlock';

export const CONTAINER_PATH = '/dev/vfio/vfio';
/** iommufd takes a container's requests, too (CONFIG_IOMMUFD_VFIO_CONTAINER or not). */
export const IOMMUFD_PATH = '/dev/iommu';

/** The kernel's kinds of IOMMU for a container, best first. */
const iommuTypes = {
  type1v2: abi.VFIO_TYPE1v2_IOMMU,
  type1: abi.VFIO_TYPE1_IOMMU,
  noiommu: abi.VFIO_NOIOMMU_IOMMU,
} as const;
export type IommuType = keyof typeof iommuTypes;

/** All that there is without an IOMMU: physical memory. */
const physicalGeometry: Geometry = {
  iovaRanges: [{ start: 0n, end: (1n << 52n) - 1n }],
  pageSizes: 4096n,
};

export class Container implements DmaBackend {
  readonly name: BackendName;
  readonly accounting: MemlockAccounting;
  readonly dirty: DirtyTracking;
  readonly #fd: number;
  readonly #type: IommuType;
  /** Descriptors of the groups inside. */
  readonly #groups = new Set<number>();
  #geometry: Geometry | undefined;
  #dropped = () => {};

  /** `fd`: an open container, owned from now on. `iommufd`: how it accounts, if it is one. */
  private constructor(fd: number, type: IommuType, iommufd: MemlockAccounting | undefined) {
    this.#fd = fd;
    this.#type = type;
    this.name = iommufd ? 'iommufd-container' : type;
    this.accounting = iommufd ?? 'process';
    const { name } = this;
    this.dirty = containerDirtyTracking(fd, name);
  }

  /**
   * A new, empty container.
   * @throws ERR_VFIO_UNAVAILABLE without VFIO or that IOMMU in the kernel, EACCES without the right to open it
   */
  static open(type?: IommuType, path = CONTAINER_PATH): Container {
    const fd = native.open(path, fsConstants.O_RDWR);
    if (fd < 0) throw openError(fd, path);
    return Container.from(fd, type);
  }

  /** A container that was opened elsewhere, without groups; owned from now on, closed if it is unfit. */
  static from(fd: number, wanted?: IommuType): Container {
    try {
      const version = askVersion(fd);
      const types = wanted ? [wanted] : (['type1v2', 'type1'] as const);
      const type = types.find((type) => ioctl.checkExtension(fd, iommuTypes[type]) > 0);
      if (version === abi.VFIO_API_VERSION && type) {
        if (type === 'noiommu') warnOnce();
        return new Container(fd, type, type === 'noiommu' ? undefined : iommufdAccounting(fd));
      }
      const what = wanted ?? 'type1';
      throw new VfioError('ERR_VFIO_UNAVAILABLE', `the kernel's VFIO has no ${what} IOMMU`, {
        hint: wanted === 'noiommu' ? hints.noIommu() : hints.modulesMissing(),
      });
    } catch (error) {
      native.close(fd);
      throw error;
    }
  }

  geometry(): Geometry | undefined {
    return this.#geometry;
  }

  onDropped(listener: () => void): void {
    this.#dropped = listener;
  }

  /**
   * Bring in a group by its descriptor. The kernel sets up an IOMMU for the first, and drops it
   * with all mappings when the last leaves.
   * @throws EPERM (group not viable), EINVAL (it has a container already)
   */
  async attachGroup(groupFd: number): Promise<void> {
    groupSetContainer(groupFd, this.#fd);
    this.#groups.add(groupFd);
    try {
      if (!this.#askIommu()) await ioctl.setIommu(this.#fd, iommuTypes[this.#type]);
      this.#geometry = this.#readGeometry();
    } catch (error) {
      await Promise.allSettled([this.detachGroup(groupFd)]);
      throw error;
    }
  }

  /** A device of a group was opened: iommufd attaches it only now, and may narrow the space. */
  deviceOpened(): void {
    this.#geometry = this.#readGeometry();
  }

  /** Its devices must be closed. @throws EBUSY if one is open; the group is no longer counted all the same */
  async detachGroup(groupFd: number): Promise<void> {
    if (!this.#groups.delete(groupFd)) return;
    try {
      await groupUnsetContainer(groupFd);
    } catch (error) {
      // The kernel itself takes out a group whose last device is unplugged.
      if (!isErrno(error, 'EINVAL')) throw error;
    } finally {
      if (this.name !== 'iommufd-container') {
        if (this.#askIommu()) this.#geometry = this.#readGeometry();
      } else if (this.#groups.size === 0) {
        // A container's mappings go with its last group; those of iommufd stay.
        await ioctl.iommuUnmapAll(this.#fd);
        this.#drop();
      }
    }
  }

  async map(vaddr: bigint, iova: bigint, size: bigint, access: DmaAccess): Promise<void> {
    if (this.#type === 'noiommu') return;
    try {
      await ioctl.iommuMapDma(this.#fd, vaddr, iova, size, accessFlags(access));
    } catch (error) {
      if (isErrno(error, 'EINVAL') && !this.#askIommu()) throw noIommu();
      throw error;
    }
  }

  prepare(vaddr: bigint, iova: bigint, size: bigint, access: DmaAccess): PreparedMapping {
    if (this.#type === 'noiommu') {
      throw new VfioError('ERR_VFIO_UNSUPPORTED', 'without an IOMMU, devices reach all memory');
    }
    return {
      map: ioctl.prepareMapDma(this.#fd, vaddr, iova, size, accessFlags(access)),
      unmap: ioctl.prepareUnmapDma(this.#fd, iova, size),
    };
  }

  async updateVaddr(vaddr: bigint, iova: bigint, size: bigint): Promise<void> {
    if (ioctl.checkExtension(this.#fd, abi.VFIO_UPDATE_VADDR) <= 0) {
      throw new VfioError('ERR_VFIO_UNSUPPORTED', `${this.name} has no VFIO_UPDATE_VADDR`);
    }
    await ioctl.iommuUnmapDmaVaddr(this.#fd, iova, size);
    await ioctl.iommuMapDmaVaddr(this.#fd, vaddr, iova, size);
  }

  async unmap(iova: bigint, size: bigint): Promise<bigint> {
    if (this.#type === 'noiommu') return size;
    try {
      return await ioctl.iommuUnmapDma(this.#fd, iova, size);
    } catch (error) {
      // It was dropped with the group of a device that was unplugged.
      if (isErrno(error, 'EINVAL') && !this.#askIommu()) return size;
      throw error;
    }
  }

  farewell(iova: bigint, size: bigint, memory: Uint8Array): number {
    return ioctl.farewellUnmapDma(this.#fd, iova, size, memory);
  }

  async unmapAll(): Promise<bigint> {
    return this.#type === 'noiommu' ? 0n : ioctl.iommuUnmapAll(this.#fd);
  }

  entriesLeft(): number | undefined {
    return this.#type === 'noiommu' ? undefined : ioctl.iommuGetInfo(this.#fd).dmaAvail;
  }

  get physical(): boolean {
    return this.#type === 'noiommu';
  }

  close(): void {
    native.close(this.#fd);
  }

  /** Whether there is an IOMMU with mappings: the kernel drops it with the last group, by whatever way that leaves. */
  #askIommu(): boolean {
    // iommufd has address spaces without groups.
    if (this.name === 'iommufd-container') return this.#geometry !== undefined;
    try {
      ioctl.iommuGetInfo(this.#fd);
      return true;
    } catch (error) {
      // Without an IOMMU, the kernel knows no such request.
      if (this.#type === 'noiommu' && isErrno(error, 'ENOTTY')) return true;
      if (!isErrno(error, 'EINVAL')) throw error;
      this.#drop();
      return false;
    }
  }

  #drop(): void {
    this.#geometry = undefined;
    this.#dropped();
  }

  #readGeometry(): Geometry {
    return this.#type === 'noiommu' ? physicalGeometry : ioctl.iommuGetInfo(this.#fd);
  }
}

function askVersion(fd: number): number {
  try {
    return ioctl.getApiVersion(fd);
  } catch (cause) {
    if (!isErrno(cause, 'ENOTTY')) throw cause;
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `descriptor ${fd} is no container of VFIO`, {
      hint: `open ${CONTAINER_PATH}, or ${IOMMUFD_PATH}, for reading and writing`,
      cause,
    });
  }
}

/**
 * Whose memory an iommufd counts; undefined for any other file. Whatever it was opened as: a kernel may
 * have iommufd behind /dev/vfio/vfio, too.
 */
export function iommufdAccounting(fd: number): MemlockAccounting | undefined {
  try {
    return iommuOptionGet(fd, IOMMU_OPTION_RLIMIT_MODE, 0) === 1n ? 'process' : 'user';
  } catch {
    return undefined;
  }
}

function openError(result: number, path: string): VfioError {
  const details = { syscall: 'open', path, hint: hints.modulesMissing() };
  const error = systemError(result, `open ${path}`, details);
  if (!['ENOENT', 'ENODEV', 'ENXIO'].some((code) => isErrno(error, code))) return error;
  return new VfioError('ERR_VFIO_UNAVAILABLE', `there is no ${path}`, {
    ...details,
    errno: -result,
    cause: error,
  });
}

let warned = false;

function warnOnce(): void {
  if (warned) return;
  warned = true;
  process.emitWarning('devices without an IOMMU in front reach all memory, the kernel included', {
    type: 'VfioWarning',
    code: 'VFIO_NOIOMMU',
  });
}
