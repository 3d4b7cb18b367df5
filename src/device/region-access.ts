/** Reads and writes of a region, wherever it was mapped: by its device, or by another thread. */
import { closedError, systemError, VfioError } from '../errors';
import { hints } from '../hints';
import type { RegisterAccessors } from '../native';
import { directWords } from './direct-words';

/**
 * Registers of a device. Each call is exactly one access of the stated width, in program order;
 * values are little-endian, as PCI has them. Offsets are in bytes and aligned to the width.
 *
 * Every accessor throws ERR_VFIO_CLOSED, ERR_VFIO_OUT_OF_RANGE, ERR_VFIO_UNALIGNED, or EIO when the
 * device does not answer.
 */
export class RegionAccess {
  readonly name: string;
  readonly size: number;
  readonly #device: string;
  readonly #access: RegisterAccessors;
  /** What 32-bit accesses need no call for; all others, and all errors, go through `#access`. */
  readonly #words: Uint32Array;
  readonly #lost: Uint8Array;
  readonly #lostAfter: Uint8Array;

  /** `range`: of the addon, with all of the region in this thread, if it is mapped as a whole. */
  constructor(
    device: string,
    name: string,
    size: number,
    access: RegisterAccessors,
    range: number | undefined,
  ) {
    this.#device = device;
    this.name = name;
    this.size = size;
    this.#access = access;
    const direct = directWords(range, size);
    this.#words = direct.words;
    this.#lost = direct.lost;
    this.#lostAfter = direct.lostAfter;
  }

  read8(offset: number): number {
    const value = this.#access.read8(offset);
    return value < 0 ? this.fail(value, offset, 1) : value;
  }

  read16(offset: number): number {
    const value = this.#access.read16(offset);
    return value < 0 ? this.fail(value, offset, 2) : value;
  }

  read32(offset: number): number {
    // A whole word inside; none is once the region is closed, as the view is of length 0 then.
    const index = offset >>> 2;
    if (index < this.#words.length && index * 4 === offset) {
      const value = Atomics.load(this.#words, index);
      if (this.#lost[0] === 0) return value;
    }
    const value = this.#access.read32(offset);
    return value < 0 ? this.fail(value, offset, 4) : value;
  }

  /** One 64-bit read. */
  read64(offset: number): bigint {
    const value = this.#access.read64(offset);
    return typeof value === 'number' ? this.fail(value, offset, 8) : value;
  }

  /** Two 32-bit reads, low half first, into `out[0]` and `out[1]`. */
  read64LoHi(offset: number, out: Uint32Array): void {
    const result = this.#access.read64LoHi(offset, out);
    if (result < 0) this.fail(result, offset, 8);
  }

  /** One 32-bit read per entry of `offsets`, in order, into `out`: the cheapest way to read many. */
  readBatch32(offsets: Uint32Array, out: Uint32Array): void {
    const result = this.#access.readBatch32(offsets, out);
    if (result < 0) this.fail(result, Math.max(...offsets), 4);
  }

  write8(offset: number, value: number): void {
    const result = this.#access.write8(offset, value);
    if (result < 0) this.fail(result, offset, 1);
  }

  write16(offset: number, value: number): void {
    const result = this.#access.write16(offset, value);
    if (result < 0) this.fail(result, offset, 2);
  }

  write32(offset: number, value: number): void {
    const index = offset >>> 2;
    const whole = index < this.#words.length && index * 4 === offset;
    if (whole && isInt32OrUint32(value) && this.#lost[0] === 0) {
      this.#words[index] = value;
      // This write may have faulted. Another view: not the same load in the eyes of the optimiser.
      if (this.#lostAfter[0] === 0) return;
    }
    const result = this.#access.write32(offset, value);
    if (result < 0) this.fail(result, offset, 4);
  }

  /** One 64-bit write. */
  write64(offset: number, value: bigint): void {
    const result = this.#access.write64(offset, value);
    if (result < 0) this.fail(result, offset, 8);
  }

  /** Two 32-bit writes, low half first. */
  write64LoHi(offset: number, lo: number, hi: number): void {
    const result = this.#access.write64LoHi(offset, lo, hi);
    if (result < 0) this.fail(result, offset, 8);
  }

  /** What an access of `width` bytes at `offset` had for a result becomes an error. */
  protected fail(result: number, offset: number, width: number): never {
    switch (systemError(result, '', {}).code) {
      case 'EBADF':
        throw this.closedError();
      case 'ERANGE':
        throw this.outOfRange(offset, width);
      case 'EINVAL':
        // The addon takes no negative offset and no fraction for a number of bytes.
        if (!(offset >= 0 && Number.isInteger(offset))) throw this.outOfRange(offset, width);
        throw new VfioError(
          'ERR_VFIO_UNALIGNED',
          `${this.name} offset ${offset} is not aligned to ${width} bytes`,
          { device: this.#device, hint: `use a multiple of ${width}, or a narrower access` },
        );
      default:
        throw systemError(result, `access to ${this.name} at 0x${offset.toString(16)}`, {
          device: this.#device,
          hint: hints.deviceGone(),
        });
    }
  }

  protected outOfRange(offset: number, length: number): VfioError {
    return new VfioError(
      'ERR_VFIO_OUT_OF_RANGE',
      `${length} bytes at ${offset} are not inside ${this.name} (${this.size} bytes)`,
      { device: this.#device },
    );
  }

  protected closedError(): VfioError {
    return closedError(`${this.name} of ${this.#device}`);
  }
}

function isInt32OrUint32(value: number): boolean {
  return value >>> 0 === value || (value | 0) === value;
}
