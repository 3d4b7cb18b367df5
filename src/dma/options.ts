/** Options of one mapping, and usage figures of all. */
import { shown, VfioError } from '../errors';
import type { IovaRange } from '../ioctl/container';
import { isAlignment } from './alignment';
import type { DmaAccess } from './backend';
import type { Progress } from './chunks';
import type { IovaConstraints } from './iova-allocator';
import { type HugePageSize, type HugePages, hugePageSizes } from './memory';

export interface MapOptions extends IovaConstraints, Progress {
  /** This address and no other; a multiple of the page size. */
  readonly iova?: bigint;
  /** What devices may do; 'read-write' unless given. */
  readonly access?: DmaAccess;
}

export interface AllocOptions extends MapOptions {
  /** 'no' unless given. */
  readonly hugePages?: HugePages;
  /** 2 MiB unless given. */
  readonly hugePageSize?: HugePageSize;
}

export interface PeerOptions extends MapOptions {
  /** The part to map; all of the region unless given. */
  readonly offset?: number;
  readonly size?: number;
}

export interface DmaUsage {
  /** Mappings made here, and their bytes. */
  readonly mappings: number;
  readonly bytes: number;
  /** Mappings the kernel has room for; undefined if it does not report it. */
  readonly mappingsLeft: number | undefined;
  /** RLIMIT_MEMLOCK in bytes (Infinity: not bound by it); undefined if it cannot be read (no /proc). */
  readonly memlockLimit: number | undefined;
  /** Bytes of this process that count against it; undefined likewise. */
  readonly memlockUsed: number | undefined;
}

const U64_END = 1n << 64n;
const isIova = (value: unknown) => typeof value === 'bigint' && value >= 0n && value < U64_END;
const oneOf = (values: readonly unknown[]) => (value: unknown) => values.includes(value);

const rules: Record<keyof (AllocOptions & PeerOptions), [(value: unknown) => boolean, string]> = {
  iova: [isIova, 'a bigint from 0n to 2n ** 64n - 1n'],
  maxIova: [isIova, 'a bigint from 0n to 2n ** 64n - 1n'],
  alignment: [isAlignment, 'a number of bytes, a power of two'],
  access: [oneOf(['read-write', 'read', 'write']), "'read-write', 'read' or 'write'"],
  onProgress: [(value) => typeof value === 'function', 'a function'],
  signal: [
    (value) => typeof (value as AbortSignal | null)?.throwIfAborted === 'function',
    'an AbortSignal',
  ],
  hugePages: [oneOf(['no', 'try', 'require']), "'no', 'try' or 'require'"],
  hugePageSize: [oneOf(hugePageSizes), hugePageSizes.join(' or ')],
  offset: [Number.isSafeInteger, 'a number of bytes'],
  size: [Number.isSafeInteger, 'a number of bytes'],
};

/** A copy of them, each read once and of its type. @throws ERR_VFIO_INVALID_ARGUMENT */
export function checked<T extends AllocOptions | PeerOptions>(options: T): T {
  if (typeof options !== 'object' || options === null) {
    throw invalid(`options of a mapping: ${shown(options)}`, 'an object');
  }
  const copy: Record<string, unknown> = {};
  for (const [name, [isValid, expected]] of Object.entries(rules)) {
    const value = options[name as keyof T];
    if (value === undefined) continue;
    if (!isValid(value)) throw invalid(`option ${name}: ${shown(value)}`, expected);
    copy[name] = value;
  }
  return copy as T;
}

/** @throws ERR_VFIO_INVALID_ARGUMENT */
export function checkedRanges(ranges: readonly IovaRange[]): IovaRange[] {
  if (!Array.isArray(ranges)) throw invalid('no list of IOVA ranges', '[{ start, end }, ...]');
  return (ranges as readonly (IovaRange | null)[]).map((range) => {
    const { start, end } = range ?? {};
    if (isIova(start) && isIova(end) && start! <= end!) return { start: start!, end: end! };
    throw invalid(
      `no IOVA range: ${shown(start)} to ${shown(end)}`,
      'both ends as bigints, the lower first',
    );
  });
}

function invalid(message: string, hint: string): VfioError {
  return new VfioError('ERR_VFIO_INVALID_ARGUMENT', message, { hint });
}
