/** The memory behind a mapping, and how each kind of it is mapped. */
import { native } from '../native';
import type { DmaAccess, DmaBackend, PreparedMapping } from './backend';
import type { Ioas } from './ioas';
import type { Peer } from './peer-region';

export interface Backing {
  readonly access: DmaAccess;
  /** Map `length` bytes of it, from `offset` on, at `iova`. */
  map(offset: number, iova: bigint, length: number): Promise<void>;
  /** To map and unmap all of it synchronously, at `iova`; absent for memory that is not the caller's own. */
  prepare?(iova: bigint): PreparedMapping;
  /**
   * Memory that is not the addon's, and so may be somebody else's after the end of the thread; empty
   * for a BAR, which goes back to its device.
   */
  readonly lent?: Uint8Array | undefined;
  /** The range of the addon that is released as the mapping closes. */
  readonly range?: number | undefined;
}

/** Memory of the process at an address that the library or the engine has given. */
export interface ProcessMemory {
  readonly vaddr: bigint;
  /** Bytes. */
  readonly size: number;
  /** A view of memory that is not the addon's. */
  readonly owner?: Uint8Array;
}

// Functions rather than methods: a closure must not keep the address space from being collected.

export function processMemory(
  backend: DmaBackend,
  memory: ProcessMemory,
  access: DmaAccess = 'read-write',
): Backing {
  return {
    access,
    lent: memory.owner,
    map: (offset, iova, length) =>
      backend.map(memory.vaddr + BigInt(offset), iova, BigInt(length), access),
    prepare: (iova) => backend.prepare(memory.vaddr, iova, BigInt(memory.size), access),
  };
}

/** A BAR of a device, from `start` on. */
export function peerMemory(
  backend: DmaBackend,
  peer: Peer,
  start: number,
  access: DmaAccess = 'read-write',
): Backing {
  return {
    access,
    lent: new Uint8Array(),
    map: async (offset, iova, length) => {
      if (!backend.mapFile) {
        const vaddr = peer.address() + BigInt(start + offset);
        await backend.map(vaddr, iova, BigInt(length), access);
        return;
      }
      const fd = peer.exportDmaBuf(start + offset, length);
      try {
        await backend.mapFile(fd, 0n, iova, BigInt(length), access);
      } finally {
        native.close(fd);
      }
    },
  };
}

/** What another space of the same iommufd maps from `source` on. */
export function copiedMemory(
  from: Ioas,
  to: Ioas,
  source: bigint,
  access: DmaAccess = 'read-write',
): Backing {
  return {
    access,
    map: (offset, iova, size) =>
      to.copy(from, { iova: source + BigInt(offset), size }, iova, access),
  };
}
