/** Reads and writes of a region, wherever it was mapped: by its device, or by another thread. */
import { closedError, invalidArgument, systemError, VfioError } from '../errors';
import { hints } from '../hints';
import { VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE } from '../ioctl/abi/constants';
import type { RegisterAccessors } from '../native';
import { directWords } from './direct-words';

/**
 * Registers of a device. Each call is exactly one access of the stated width, in program order;
 * values are little-endian, as PCI has them. Offsets are in bytes and aligned to the width.
 *
 * A value is an integer of its width, of either sign (-1 is all ones).
 *
 * Every accessor throws ERR_VFIO_CLOSED, ERR_VFIO_OUT_OF_RANGE, ERR_VFIO_UNALIGNED,
 * ERR_VFIO_INVALID_ARGUMENT (a value or an array that is none), ERR_VFIO_UNSUPPORTED (the region is
 * read-only, or write-only), or EIO when the device does not answer.
 */
export class RegionAccess {
  readonly name: string;
  readonly size: number;
  readonly #device: string;
  /** VFIO_REGION_INFO_FLAG_*. */
  readonly #flags: number;
  readonly #access: RegisterAccessors;
  /** What 32-bit accesses need no call for; all others, and all errors, go through `#access`. */
  readonly #words: Uint32Array;
  readonly #lost: Uint8Array;
  readonly #lostAfter: Uint8Array;

  /** `range`: of the addon, with all of the region in this thread, if it is mapped as a whole. */
  constructor(
    device: string,
    name: string,
    { size, flags }: { readonly size: number; readonly flags: number },
    access: RegisterAccessors,
    range: number | undefined,
  ) {
    this.#device = device;
    this.name = name;
    this.size = size;
    this.#flags = flags;
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
    if (result < 0) this.#failPair(result, offset, out);
  }

  /** One 32-bit read per entry of `offsets`, in order, into `out`: the cheapest way to read many. */
  readBatch32(offsets: Uint32Array, out: Uint32Array): void {
    const result = this.#access.readBatch32(offsets, out);
    if (result < 0) this.#failBatch(result, offsets, out);
  }

  write8(offset: number, value: number): void {
    const result = this.#access.write8(offset, value);
    if (result < 0) this.#failWrite(result, offset, 1, value);
  }

  write16(offset: number, value: number): void {
    const result = this.#access.write16(offset, value);
    if (result < 0) this.#failWrite(result, offset, 2, value);
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
    if (result < 0) this.#failWrite(result, offset, 4, value);
  }

  /** One 64-bit write. */
  write64(offset: number, value: bigint): void {
    const result = this.#access.write64(offset, value);
    if (result < 0) this.#failWrite(result, offset, 8, value);
  }

  /** Two 32-bit writes, low half first. */
  write64LoHi(offset: number, lo: number, hi: number): void {
    const result = this.#access.write64LoHi(offset, lo, hi);
    if (result < 0) this.#failWritePair(result, offset, lo, hi);
  }

  /** The error of an access of `width` bytes, whose offset has to be a multiple of `alignment`. */
  private fail(
    result: number,
    offset: number,
    width: number,
    right = VFIO_REGION_INFO_FLAG_READ,
    alignment = width,
  ): never {
    switch (systemError(result, '', {}).code) {
      case 'EBADF':
        throw this.closedError();
      case 'ERANGE':
        throw this.outOfRange(offset, width);
      case 'EACCES':
        throw this.#without(right);
      case 'EINVAL':
        if (!this.#isInside(offset, width)) throw this.outOfRange(offset, width);
        if (offset % alignment !== 0) throw this.unaligned(offset, alignment);
        if ((this.#flags & right) === 0) throw this.#without(right);
        throw systemError(result, `access to ${this.name} at 0x${offset.toString(16)}`, {
          device: this.#device,
          hint: 'the kernel takes no such access to this region',
        });
      default:
        throw systemError(result, `access to ${this.name} at 0x${offset.toString(16)}`, {
          device: this.#device,
          hint: hints.deviceGone(),
        });
    }
  }

  #failPair(result: number, offset: number, out: unknown): never {
    if (isInvalid(result) && this.#isAligned(offset, 8, 4)) assertWords(out, 2);
    this.fail(result, offset, 8, VFIO_REGION_INFO_FLAG_READ, 4);
  }

  /** Of all offsets, the one that is wrong is named. */
  #failBatch(result: number, offsets: unknown, out: unknown): never {
    const { code } = systemError(result, '', {});
    if (code === 'EINVAL') assertWords(offsets, 0);
    const list = offsets instanceof Uint32Array ? offsets : new Uint32Array();
    const wrong = list.find((offset) => !this.#isAligned(offset, 4, 4));
    if (code === 'EINVAL' && wrong === undefined) assertWords(out, list.length);
    this.fail(result, wrong ?? list[0] ?? 0, 4);
  }

  #failWrite(result: number, offset: number, width: number, value: unknown): never {
    if (isInvalid(result) && this.#isAligned(offset, width, width)) assertValue(value, width);
    this.fail(result, offset, width, VFIO_REGION_INFO_FLAG_WRITE);
  }

  #failWritePair(result: number, offset: number, ...values: unknown[]): never {
    if (isInvalid(result) && this.#isAligned(offset, 8, 4)) {
      for (const value of values) assertValue(value, 4);
    }
    this.fail(result, offset, 8, VFIO_REGION_INFO_FLAG_WRITE, 4);
  }

  #isInside(offset: unknown, width: number): boolean {
    return Number.isSafeInteger(offset) && (offset as number) >= 0
      ? (offset as number) + width <= this.size
      : false;
  }

  #isAligned(offset: number, width: number, alignment: number): boolean {
    return this.#isInside(offset, width) && offset % alignment === 0;
  }

  #without(right: number): VfioError {
    const kind = right === VFIO_REGION_INFO_FLAG_WRITE ? 'read-only' : 'write-only';
    return new VfioError('ERR_VFIO_UNSUPPORTED', `${this.name} of ${this.#device} is ${kind}`, {
      device: this.#device,
    });
  }

  protected unaligned(offset: number, alignment: number): VfioError {
    return new VfioError(
      'ERR_VFIO_UNALIGNED',
      `${this.name} offset ${offset} is not aligned to ${alignment} bytes`,
      { device: this.#device, hint: `use a multiple of ${alignment}, or a narrower access` },
    );
  }

  protected outOfRange(offset: number, length: number): VfioError {
    return new VfioError(
      'ERR_VFIO_OUT_OF_RANGE',
      `${String(length)} bytes at ${String(offset)} are not inside ${this.name} (${this.size} bytes)`,
      { device: this.#device },
    );
  }

  protected closedError(): VfioError {
    return closedError(`${this.name} of ${this.#device}`);
  }
}

/** Of either sign: a register takes all 32 bits. */
function isInt32OrUint32(value: number): boolean {
  return value >>> 0 === value || (value | 0) === value;
}

function isInvalid(result: number): boolean {
  return systemError(result, '', {}).code === 'EINVAL';
}

/** @throws ERR_VFIO_INVALID_ARGUMENT */
function assertWords(words: unknown, length: number): void {
  if (!(words instanceof Uint32Array)) throw invalidArgument('a Uint32Array is needed');
  if (words.length >= length) return;
  throw invalidArgument(`a Uint32Array of ${length} is needed, not of ${words.length}`);
}

/** @throws ERR_VFIO_INVALID_ARGUMENT unless `value` is an integer of `width` bytes, signed or unsigned */
function assertValue(value: unknown, width: number): void {
  const bits = 8 * width;
  const integer = width === 8 ? typeof value === 'bigint' : Number.isSafeInteger(value);
  if (integer) {
    const whole = BigInt(value as number | bigint);
    if (BigInt.asUintN(bits, whole) === whole || BigInt.asIntN(bits, whole) === whole) return;
  }
  const what = typeof value === 'bigint' ? `${value}n` : String(value);
  throw invalidArgument(`not a value of ${bits} bits: ${what}`, {
    hint: `pass ${width === 8 ? 'a bigint' : 'an integer'} that fits in ${bits} bits, signed or not`,
  });
}
