/** The memory behind a region: all of it mapped, parts of it, or none. */
import { check, systemError, VfioError } from '../errors';
import * as abi from '../ioctl/abi/constants';
import type { RegionInfo } from '../ioctl/device';
import { regionSparseAreas, type SparseArea } from '../ioctl/region-info';
import {
  MEMORY_DEVICE,
  type NativeAccessors,
  native,
  PROT_READ,
  PROT_WRITE,
  type RegisterAccessors,
} from '../native';
import { exchanging } from './exchange';
import { type MappedPart, sparseAccess } from './sparse-access';

interface Mapped extends SparseArea {
  /** A range of the addon. */
  readonly range: number;
}

export class RegionMapping {
  readonly access: RegisterAccessors;
  readonly #what: string;
  readonly #areas: readonly Mapped[];
  readonly #size: number;

  /** `what`: the region and its device, for errors. */
  constructor(what: string, deviceFd: number, info: RegionInfo) {
    this.#what = what;
    this.#size = info.size;
    const areas: Mapped[] = [];
    this.#areas = areas;
    try {
      for (const area of mappable(info))
        areas.push({ ...area, range: map(what, deviceFd, info, area) });
      this.access = this.#openAccess(deviceFd, info);
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  /** Whether all accesses go to memory, some, or none. */
  get extent(): 'whole' | 'parts' | 'none' {
    if (this.#areas.length === 0) return 'none';
    return this.#whole() === undefined ? 'parts' : 'whole';
  }

  /** The addon's range with all of the region, if that is mapped. */
  get wholeRange(): number | undefined {
    return this.#whole()?.range;
  }

  /** Where the region is in this process, if all of it is. */
  get address(): bigint | undefined {
    const whole = this.#whole();
    return whole && (native.rangeAddress(whole.range) as bigint);
  }

  restore(): void {
    for (const { range } of this.#areas) {
      check(native.rangeRestore(range), `mapping ${this.#what} anew`, { syscall: 'mmap' });
    }
  }

  close(): void {
    this.access.close();
    this.#release();
  }

  #whole(): Mapped | undefined {
    return this.#areas.find(({ offset, size }) => offset === 0 && size === this.#size);
  }

  #release(): void {
    for (const { range } of this.#areas) native.rangeRelease(range);
  }

  #openAccess(deviceFd: number, { offset, size }: RegionInfo): RegisterAccessors {
    const whole = this.#whole();
    if (whole) return this.#opened(native.rangeRegisters(whole.range, 0, size));
    const kernel = this.#opened(native.fdRegisters(deviceFd, offset, size));
    if (this.#areas.length === 0) return kernel;
    const parts = this.#areas.map(({ offset: start, size: length, range }): MappedPart => {
      const access = this.#opened(native.rangeRegisters(range, 0, length));
      return { start, end: start + length, access };
    });
    return sparseAccess(parts, kernel, size);
  }

  #opened(access: NativeAccessors | number): RegisterAccessors {
    if (typeof access === 'number') throw systemError(access, `registers of ${this.#what}`, {});
    return exchanging(access);
  }
}

/** The areas of a region that can be mapped, in whole pages. */
function mappable(info: RegionInfo): SparseArea[] {
  if ((info.flags & abi.VFIO_REGION_INFO_FLAG_MMAP) === 0 || info.size === 0) return [];
  return regionSparseAreas(info) ?? [{ offset: 0, size: info.size }];
}

function map(what: string, fd: number, info: RegionInfo, area: SparseArea): number {
  const { pageSize } = native;
  const details = { syscall: 'mmap' };
  if (area.offset % pageSize !== 0) {
    throw new VfioError(
      'ERR_VFIO_UNSUPPORTED',
      `${what} has an area that is on no page: ${area.offset}`,
    );
  }
  const whole = Math.ceil(area.size / pageSize) * pageSize;
  const range = check(native.rangeReserve(whole, pageSize), 'reserving a region', details);
  const protection =
    (info.flags & abi.VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0) |
    (info.flags & abi.VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0);
  const offset = info.offset + area.offset;
  const result = native.rangeMap(range, 0, whole, MEMORY_DEVICE, protection, fd, offset);
  if (result >= 0) return range;
  native.rangeRelease(range);
  throw systemError(result, `mapping ${what}`, details);
}
