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
  type PreparedMapping,
} from './backend';
import { containerDirtyTracking } from './container-dirty';

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
  readonly accounting = 'process';
  readonly dirty: DirtyTracking;
  readonly #fd: number;
  readonly #type: IommuType;
  /** Descriptors of the groups inside. */
  readonly #groups = new Set<number>();
  #geometry: Geometry | undefined;

  /** `fd`: an open container, owned from now on. */
  private constructor(fd: number, type: IommuType, name: BackendName) {
    this.#fd = fd;
    this.#type = type;
    this.name = name;
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
      const version = ioctl.getApiVersion(fd);
      const types = wanted ? [wanted] : (['type1v2', 'type1'] as const);
      const type = types.find((type) => ioctl.checkExtension(fd, iommuTypes[type]) > 0);
      if (version === abi.VFIO_API_VERSION && type) {
        if (type === 'noiommu') warnOnce();
        return new Container(
          fd,
          type,
          type !== 'noiommu' && isIommufd(fd) ? 'iommufd-container' : type,
        );
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

  /**
   * Bring in a group by its descriptor. The kernel sets up an IOMMU for the first, and drops it
   * with all mappings when the last leaves.
   * @throws EPERM (group not viable), EINVAL (it has a container already)
   */
  attachGroup(groupFd: number): 'new' | 'kept' {
    groupSetContainer(groupFd, this.#fd);
    this.#groups.add(groupFd);
    const space = this.#geometry ? 'kept' : 'new';
    try {
      if (space === 'new') ioctl.setIommu(this.#fd, iommuTypes[this.#type]);
      this.#geometry = this.#readGeometry();
      return space;
    } catch (error) {
      this.detachGroup(groupFd);
      throw error;
    }
  }

  /** A device of a group was opened: iommufd attaches it only now, and may narrow the space. */
  deviceOpened(): void {
    this.#geometry = this.#readGeometry();
  }

  /** Its devices must be closed. @throws EBUSY if one is open */
  detachGroup(groupFd: number): void {
    if (!this.#groups.has(groupFd)) return;
    try {
      groupUnsetContainer(groupFd);
    } catch (error) {
      // The kernel itself takes out a group whose last device is unplugged.
      if (!isErrno(error, 'EINVAL')) throw error;
    }
    this.#groups.delete(groupFd);
    if (this.#groups.size > 0) return;
    this.#geometry = undefined;
    // A container's mappings go with its last group; those of iommufd stay.
    if (this.name === 'iommufd-container') ioctl.iommuUnmapAll(this.#fd);
  }

  map(vaddr: bigint, iova: bigint, size: bigint, access: DmaAccess): Promise<void> {
    if (this.#type === 'noiommu') return Promise.resolve();
    return ioctl.iommuMapDma(this.#fd, vaddr, iova, size, accessFlags(access));
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

  unmap(iova: bigint, size: bigint): Promise<bigint> {
    if (this.#type === 'noiommu') return Promise.resolve(size);
    return ioctl.iommuUnmapDma(this.#fd, iova, size);
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

  #readGeometry(): Geometry {
    return this.#type === 'noiommu' ? physicalGeometry : ioctl.iommuGetInfo(this.#fd);
  }
}

/** Whatever it was opened as: a kernel may have iommufd behind /dev/vfio/vfio, too. */
function isIommufd(fd: number): boolean {
  try {
    iommuOptionGet(fd, IOMMU_OPTION_RLIMIT_MODE, 0);
    return true;
  } catch {
    return false;
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
