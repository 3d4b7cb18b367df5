/** A space of the kernel that takes its time: a map or unmap ends when the test says so. */
import { constants } from 'node:os';
import type { DirtyTracking, DmaBackend, Geometry, PreparedMapping } from '../../src/dma/backend';
import { systemError } from '../../src/errors';

export class FakeBackend implements DmaBackend {
  readonly name = 'type1v2';
  readonly accounting = 'process';
  readonly dirty = {} as DirtyTracking;
  readonly mapped = new Map<bigint, bigint>();
  /** Taken away while there is no device. */
  current: Geometry | undefined = FakeBackend.newGeometry();
  closed = false;
  /** What `map` and `unmap` wait for. */
  gate: Promise<unknown> = Promise.resolve();
  /** IOVAs whose unmapping fails. */
  readonly stuck = new Set<bigint>();

  #dropped = () => {};

  onDropped(listener: () => void): void {
    this.#dropped = listener;
  }

  /** The last device leaves, and the kernel drops its IOMMU. */
  readonly drop = async (): Promise<void> => {
    this.current = undefined;
    this.mapped.clear();
    this.#dropped();
  };

  /** A device comes in. */
  readonly attach = async (): Promise<void> => {
    this.current = FakeBackend.newGeometry();
  };

  /** As the kernel reports it after each change: equal, and another object. */
  static newGeometry(): Geometry {
    return { iovaRanges: [{ start: 0n, end: (1n << 39n) - 1n }], pageSizes: 4096n };
  }

  geometry(): Geometry | undefined {
    return this.current;
  }

  async map(_vaddr: bigint, iova: bigint, size: bigint): Promise<void> {
    await this.gate;
    if (this.mapped.has(iova)) throw systemError(-constants.errno.EEXIST, 'map', {});
    this.mapped.set(iova, size);
  }

  prepare(_vaddr: bigint, iova: bigint, size: bigint): PreparedMapping {
    return {
      map: () => {
        if (this.stuck.has(iova)) throw systemError(-constants.errno.ENOMEM, 'map', {});
        if (this.mapped.has(iova)) throw systemError(-constants.errno.EEXIST, 'map', {});
        this.mapped.set(iova, size);
      },
      unmap: () => {
        if (!this.mapped.delete(iova)) throw systemError(-constants.errno.ENOENT, 'unmap', {});
      },
    };
  }

  async unmap(iova: bigint): Promise<bigint> {
    await this.gate;
    if (this.stuck.has(iova)) throw systemError(-constants.errno.EIO, 'unmap', {});
    const size = this.mapped.get(iova) ?? 0n;
    this.mapped.delete(iova);
    return size;
  }

  farewell(): number {
    return 1;
  }

  async unmapAll(): Promise<bigint> {
    await this.gate;
    if (this.stuck.size > 0) throw systemError(-constants.errno.EIO, 'unmap', {});
    const bytes = [...this.mapped.values()].reduce((sum, size) => sum + size, 0n);
    this.mapped.clear();
    return bytes;
  }

  entriesLeft(): number | undefined {
    return undefined;
  }

  close(): void {
    this.closed = true;
  }
}
