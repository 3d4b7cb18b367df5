/** Physical addresses, for devices without an IOMMU in front (Documentation/admin-guide/mm/pagemap.rst). */
import { constants as fsConstants } from 'node:fs';
import { check, VfioError } from '../errors';
import { native } from '../native';
import { assertAlignment } from './alignment';
import type { Geometry } from './backend';
import { lockMemory } from './memory';
import type { MapOptions } from './options';
import type { Placeable, Placement } from './placement';

const PRESENT = 1n << 63n;
const FRAME = (1n << 55n) - 1n;

/** Memory has its address already, and two mappings of a page have the same. */
export class PhysicalPlacement implements Placement {
  readonly geometry: Geometry;
  readonly granule = native.pageSize;

  constructor(geometry: Geometry) {
    this.geometry = geometry;
  }

  take(
    { size, range }: Placeable,
    { iova, alignment = native.pageSize, maxIova }: MapOptions,
  ): bigint {
    assertAlignment(alignment);
    if (iova !== undefined) throw unsupported('memory has its address already');
    if (range === undefined) {
      throw unsupported(
        'devices reach only memory that is locked',
        'alloc() and mapFile() lock theirs; memory of JavaScript and BARs cannot be locked',
      );
    }
    lockMemory(range, size);
    const address = physicalAddress(native.rangeAddress(range) as bigint, size);
    const last = address + BigInt(size) - 1n;
    if (maxIova !== undefined && last > maxIova) {
      throw new VfioError(
        'ERR_VFIO_IOVA_OUTSIDE',
        `memory at physical address 0x${address.toString(16)} ends above 0x${maxIova.toString(16)}`,
        {
          hint: 'without an IOMMU, memory has the address that it has: a device with a narrow DMA mask cannot reach all of it',
        },
      );
    }
    if (address % BigInt(alignment) !== 0n) {
      throw unsupported(
        `memory at physical address 0x${address.toString(16)} is not aligned to ${alignment}`,
        'memory is on the boundary of its pages: take huge ones',
      );
    }
    return address;
  }

  free(): void {}
}

function unsupported(why: string, hint?: string): VfioError {
  return new VfioError('ERR_VFIO_UNSUPPORTED', `without an IOMMU, ${why}`, hint ? { hint } : {});
}

/**
 * Where locked memory of this process is. It must be contiguous: one page, or inside of a huge page.
 * @throws ERR_VFIO_UNSUPPORTED if it is not, EPERM without CAP_SYS_ADMIN (frames read 0)
 */
function physicalAddress(vaddr: bigint, size: number): bigint {
  const page = BigInt(native.pageSize);
  const path = '/proc/self/pagemap';
  const fd = check(native.open(path, fsConstants.O_RDONLY), `open ${path}`, {
    syscall: 'open',
    path,
  });
  try {
    const entries = new BigUint64Array(size / native.pageSize);
    const bytes = new Uint8Array(entries.buffer);
    const position = Number(vaddr / page) * entries.BYTES_PER_ELEMENT;
    check(native.pread(fd, bytes, position), `read ${path}`, { syscall: 'pread', path });
    const first = frame(entries[0]!);
    for (let i = 1; i < entries.length; i++) {
      if (frame(entries[i]!) === first + BigInt(i)) continue;
      throw new VfioError(
        'ERR_VFIO_UNSUPPORTED',
        `${size} bytes are not contiguous in physical memory`,
        {
          hint: "without an IOMMU, more than one page takes a huge page: alloc(size, { hugePages: 'require' }), up to its size",
        },
      );
    }
    return first * page;
  } finally {
    native.close(fd);
  }
}

function frame(entry: bigint): bigint {
  const number = entry & FRAME;
  if (entry & PRESENT && number !== 0n) return number;
  throw new VfioError('EPERM', 'the kernel does not tell physical addresses to this process', {
    path: '/proc/self/pagemap',
    hint: 'it takes root (CAP_SYS_ADMIN)',
  });
}
