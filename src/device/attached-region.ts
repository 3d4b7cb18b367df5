/** A region of a device that another thread of the process has open. */
import { systemError } from '../errors';
import { native, type RegisterAccessors } from '../native';
import { attachRange } from '../thread-range';
import { exchanging } from './exchange';
import { RegionAccess } from './region-access';

/** What `region.share()` gives: numbers and text, to be posted to a worker. */
export interface SharedRegion {
  readonly device: string;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** VFIO_REGION_INFO_FLAG_*. */
  readonly flags: number;
  /** The addon's number for the mapping. */
  readonly range: number;
}

/**
 * The region in this thread, with the same guarantees, until it is closed or the thread ends. As long
 * as it is attached, the mapping holds the device's group.
 * @throws EBADF if its device was closed meanwhile, ERR_VFIO_INVALID_ARGUMENT in the thread that shared it
 */
export function attachRegion(shared: SharedRegion): AttachedRegion {
  const { device, name, size, range } = shared;
  attachRange(range, `${name} of ${device}`);
  const access = native.rangeRegisters(range, 0, size);
  if (typeof access !== 'number') return new AttachedRegion(shared, exchanging(access));
  native.rangeRelease(range);
  throw systemError(access, `registers of ${name} of ${device}`, {});
}

export class AttachedRegion extends RegionAccess implements Disposable {
  readonly #range: number;
  readonly #access: RegisterAccessors;
  #closed = false;

  /** Made by `attachRegion`. */
  constructor(shared: SharedRegion, access: RegisterAccessors) {
    const { device, name, range } = shared;
    super(device, name, shared, access, range);
    this.#range = range;
    this.#access = access;
  }

  /** Let go of it, in this thread only. Idempotent: by then, the range may be attached by another. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#access.close();
    native.rangeRelease(this.#range);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
