/** What can be said of a mapping, and what is told of all of them. */
import type { DmaAccess } from './backend';
import type { Progress } from './chunks';
import type { IovaConstraints } from './iova-allocator';
import type { HugePageSize, HugePages } from './memory';

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

/** A BAR that other devices are to reach (peer-to-peer); a `Region` is one. */
export interface PeerRegion {
  readonly size: number;
  /** The process' mapping of it. */
  readonly address: bigint;
  /** A dma-buf of a part of it, for interfaces that take no addresses of BARs. The caller closes it. */
  exportDmaBuf(offset: number, size: number): number;
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
  /** Mappings the kernel has room for; undefined if it does not tell. */
  readonly mappingsLeft: number | undefined;
  /** RLIMIT_MEMLOCK in bytes (Infinity: not bound by it), and what of this process counts against it. */
  readonly memlockLimit: number;
  readonly memlockUsed: number;
}
