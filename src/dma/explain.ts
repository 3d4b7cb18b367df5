/** Why a mapping was refused: the kernel has one errno for many rules. */
import { systemError, VfioError, type VfioErrorCode } from '../errors';
import { hints } from '../hints';
import type { Geometry } from './backend';
import type { IovaSpan, PagedSpan } from './mapping';
import { type MemlockAccounting, readMemlock } from './memlock';

const hex = (value: bigint) => `0x${value.toString(16)}`;
const span = ({ iova, size }: IovaSpan) => `[${hex(iova)}, ${hex(iova + BigInt(size) - 1n)}]`;

/** The mapping that `request` collides with. */
export function collision(request: IovaSpan, mappings: Iterable<IovaSpan>): IovaSpan | undefined {
  const end = request.iova + BigInt(request.size);
  for (const live of mappings) {
    if (live.iova < end && request.iova < live.iova + BigInt(live.size)) return live;
  }
  return undefined;
}

export interface BrokenRule {
  readonly code: VfioErrorCode;
  /** In words. */
  readonly rule: string;
}

/** The rule of address and size that `request` breaks; undefined if none is known. */
export function brokenRule(
  request: PagedSpan,
  { iovaRanges, pageSizes }: Geometry,
  mappings: Iterable<IovaSpan>,
): BrokenRule | undefined {
  const smallest = pageSizes & -pageSizes;
  const { iova, size } = request;
  if (size <= 0) return { code: 'ERR_VFIO_INVALID_ARGUMENT', rule: 'its size is 0' };
  if (iova % smallest !== 0n || BigInt(size) % smallest !== 0n) {
    const rule = `address and size are no multiples of the IOMMU's smallest page (${smallest})`;
    return { code: 'ERR_VFIO_UNALIGNED', rule };
  }
  const other = collision(request, mappings);
  if (other) {
    return { code: 'ERR_VFIO_IOVA_TAKEN', rule: `it overlaps the mapping ${span(other)}` };
  }
  const last = iova + BigInt(size) - 1n;
  if (!iovaRanges || iovaRanges.some(({ start, end }) => iova >= start && last <= end)) {
    return undefined;
  }
  // The kernel reports ranges in ascending order.
  const top = iovaRanges.at(-1)?.end ?? 0n;
  const usable = iovaRanges.map(({ start, end }) => `[${hex(start)}, ${hex(end)}]`).join(', ');
  const rule =
    last > top
      ? `it ends above ${hex(top)}, the highest address of the IOMMU or the devices behind it`
      : `it touches a reserved window; usable are ${usable}`;
  return { code: 'ERR_VFIO_IOVA_OUTSIDE', rule };
}

/** What to say of a refusal of the kernel. */
export function explainMapError(
  error: unknown,
  request: PagedSpan,
  geometry: Geometry,
  mappings: Iterable<IovaSpan>,
  accounting: MemlockAccounting,
): unknown {
  // The request itself is among the mappings that are under way.
  const others = () => [...mappings].filter((other) => other !== request);
  if (!(error instanceof VfioError) || error.errno === undefined) return error;
  const { code, errno, ioctl, syscall } = error;
  const what = `mapping ${request.size} bytes at IOVA ${hex(request.iova)}`;
  const fail = (why: string, hint?: string) =>
    systemError(-errno, `${what}: ${why}`, { syscall, ioctl, hint, cause: error });
  switch (code) {
    case 'ENOMEM': {
      const memlockNow = readMemlock(accounting);
      if (!memlockNow) return fail('no memory to pin it, or over a limit', hints.memlockUnknown());
      const { limit, locked } = memlockNow;
      const memlock = hints.memlock(request.size, locked, limit);
      if (locked + request.size > limit) return fail('over the limit of locked memory', memlock);
      if (accounting === 'process' || limit === Number.POSITIVE_INFINITY) {
        return fail('no memory to pin it or for page tables', hints.memory());
      }
      return fail(
        'over the limit of locked memory for all processes of the user, or no memory',
        `${hints.memlockOfUser()}: ${memlock}; or ${hints.memory()}`,
      );
    }
    case 'ENOSPC':
      return fail('the kernel has no room for another mapping', hints.mappings());
    case 'EFAULT':
      return fail('this memory cannot be pinned', hints.unpinnable());
    case 'EEXIST':
    case 'EINVAL':
    case 'EOVERFLOW':
    case 'EADDRINUSE':
      return fail(
        brokenRule(request, geometry, others())?.rule ??
          'a rule of the kernel that it does not name',
      );
    default:
      return error;
  }
}
