/** A region of a device: a BAR, the expansion ROM, config space, VGA. */
import { constants } from 'node:os';
import { check, closedError, systemError, VfioError } from '../errors';
import { hints } from '../hints';
import * as abi from '../ioctl/abi/constants';
import type { RegionInfo } from '../ioctl/device';
import { deviceFeatureDmaBuf } from '../ioctl/device-features';
import type { EventfdHandle } from '../irq/eventfd';
import { native, type RegisterAccessors } from '../native';
import { directWords } from './direct-words';
import { Ioeventfd, type IoeventfdOptions } from './ioeventfd';
import { RegionMapping } from './region-mapping';

/** Indices of VFIO_DEVICE_GET_REGION_INFO for PCI. */
export const regionIndices = {
  bar0: 0,
  bar1: 1,
  bar2: 2,
  bar3: 3,
  bar4: 4,
  bar5: 5,
  rom: abi.VFIO_PCI_ROM_REGION_INDEX,
  config: abi.VFIO_PCI_CONFIG_REGION_INDEX,
  vga: abi.VFIO_PCI_VGA_REGION_INDEX,
} as const;

export type RegionName = keyof typeof regionIndices;

/**
 * Registers of a device. Each call is exactly one access of the stated width, in program order;
 * values are little-endian, as PCI has them. Offsets are in bytes and aligned to the width.
 *
 * Every accessor throws ERR_VFIO_CLOSED, ERR_VFIO_OUT_OF_RANGE, ERR_VFIO_UNALIGNED, or EIO when the
 * device does not answer.
 */
export class Region {
  readonly name: string;
  readonly index: number;
  readonly size: number;
  readonly #device: string;
  readonly #deviceFd: number;
  readonly #fileOffset: number;
  readonly #mapping: RegionMapping;
  readonly #access: RegisterAccessors;
  readonly #ioeventfds = new Set<Ioeventfd>();
  /** What 32-bit accesses need no call for; all others, and all errors, go through `#access`. */
  readonly #words: Uint32Array;
  readonly #lost: Uint8Array;
  #closed = false;

  /** Made by the device. */
  constructor(device: string, deviceFd: number, name: string, info: RegionInfo) {
    this.name = name;
    this.index = info.index;
    this.size = info.size;
    this.#device = device;
    this.#deviceFd = deviceFd;
    this.#fileOffset = info.offset;
    this.#mapping = new RegionMapping(`${name} of ${device}`, deviceFd, info);
    this.#access = this.#mapping.access;
    const direct = directWords(this.#mapping.wholeRange, info.size);
    this.#words = direct.words;
    this.#lost = direct.lost;
  }

  /** Whether accesses go to memory, to all of the region or to parts; otherwise each is a system call. */
  get mapped(): boolean {
    return this.#mapping.extent !== 'none';
  }

  read8(offset: number): number {
    const value = this.#access.read8(offset);
    return value < 0 ? this.#fail(value, offset, 1) : value;
  }

  read16(offset: number): number {
    const value = this.#access.read16(offset);
    return value < 0 ? this.#fail(value, offset, 2) : value;
  }

  read32(offset: number): number {
    // A whole word inside; none is once the region is closed, as the view is of length 0 then.
    const index = offset >>> 2;
    if (index < this.#words.length && index * 4 === offset) {
      const value = Atomics.load(this.#words, index);
      if (this.#lost[0] === 0) return value;
    }
    const value = this.#access.read32(offset);
    return value < 0 ? this.#fail(value, offset, 4) : value;
  }

  /** One 64-bit read. */
  read64(offset: number): bigint {
    const value = this.#access.read64(offset);
    return typeof value === 'number' ? this.#fail(value, offset, 8) : value;
  }

  /** Two 32-bit reads, low half first, into `out[0]` and `out[1]`. */
  read64LoHi(offset: number, out: Uint32Array): void {
    const result = this.#access.read64LoHi(offset, out);
    if (result < 0) this.#fail(result, offset, 8);
  }

  /** One 32-bit read per entry of `offsets`, in order, into `out`: the cheapest way to read many. */
  readBatch32(offsets: Uint32Array, out: Uint32Array): void {
    const result = this.#access.readBatch32(offsets, out);
    if (result < 0) this.#fail(result, Math.max(...offsets), 4);
  }

  write8(offset: number, value: number): void {
    const result = this.#access.write8(offset, value);
    if (result < 0) this.#fail(result, offset, 1);
  }

  write16(offset: number, value: number): void {
    const result = this.#access.write16(offset, value);
    if (result < 0) this.#fail(result, offset, 2);
  }

  write32(offset: number, value: number): void {
    const index = offset >>> 2;
    const whole = index < this.#words.length && index * 4 === offset;
    if (whole && isInt32OrUint32(value) && this.#lost[0] === 0) {
      this.#words[index] = value;
      // Not the same load as before in the eyes of the optimiser: this write may have faulted.
      if (Atomics.load(this.#lost, 0) === 0) return;
    }
    const result = this.#access.write32(offset, value);
    if (result < 0) this.#fail(result, offset, 4);
  }

  /** One 64-bit write. */
  write64(offset: number, value: bigint): void {
    const result = this.#access.write64(offset, value);
    if (result < 0) this.#fail(result, offset, 8);
  }

  /** Two 32-bit writes, low half first. */
  write64LoHi(offset: number, lo: number, hi: number): void {
    const result = this.#access.write64LoHi(offset, lo, hi);
    if (result < 0) this.#fail(result, offset, 8);
  }

  /**
   * Read bytes through the kernel, in widths of its choice: for config space and ROM, not for
   * registers with side effects. Returns how many were read.
   */
  readBytes(offset: number, into: Uint8Array): number {
    this.#assertInside(offset, into.length);
    const what = `reading ${into.length} bytes of ${this.name}`;
    const details = { syscall: 'pread', device: this.#device };
    return check(native.pread(this.#deviceFd, into, this.#fileOffset + offset), what, details);
  }

  /**
   * Where the region is mapped in this process: what a container takes to map it for other devices.
   * @throws ERR_VFIO_UNSUPPORTED if it is not mapped, or in parts only
   */
  get address(): bigint {
    if (this.#closed) throw this.#closedError();
    const { address } = this.#mapping;
    if (address !== undefined) return address;
    throw new VfioError('ERR_VFIO_UNSUPPORTED', `${this.name} is not mapped as a whole`, {
      device: this.#device,
    });
  }

  /**
   * A dma-buf of whole pages of a BAR, for others to map (VFIO_DEVICE_FEATURE_DMA_BUF, Linux 6.19).
   * The caller closes the descriptor, or gives it away. Whoever has mapped it loses it when the device
   * is reset, enters low power or is closed.
   * @throws ENOTTY on kernels without it
   */
  exportDmaBuf(offset: number, size: number): number {
    this.#assertInside(offset, size);
    return deviceFeatureDmaBuf(this.#deviceFd, this.index, [
      { offset: BigInt(offset), length: BigInt(size) },
    ]);
  }

  /**
   * Have the kernel write to the region whenever `eventfd` is signaled, whoever does that (a VMM's
   * ioeventfd, another process), until it is closed, or the region. BARs only.
   * @throws EINVAL for another region, or a width that the kernel does not have (64 bits), EEXIST for
   * a write that is there already, ENOSPC from 1000 on
   */
  ioeventfd(eventfd: EventfdHandle, options: IoeventfdOptions): Ioeventfd {
    const width = options.width / 8;
    this.#assertInside(options.offset, width);
    if (options.offset % width !== 0) this.#fail(-constants.errno.EINVAL, options.offset, width);
    const ioeventfd = new Ioeventfd(this.#deviceFd, this.#fileOffset, options, eventfd);
    this.#ioeventfds.add(ioeventfd);
    return ioeventfd;
  }

  /** Map the region anew after the device did not answer (EIO). */
  restore(): void {
    if (this.#closed) throw this.#closedError();
    this.#mapping.restore();
  }

  /** Called by the device as it closes. The mapping is gone at once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const ioeventfd of this.#ioeventfds) ioeventfd.close();
    this.#mapping.close();
  }

  #assertInside(offset: number, length: number): void {
    if (this.#closed) throw this.#closedError();
    if (Number.isSafeInteger(offset) && offset >= 0 && offset + length <= this.size) return;
    throw this.#outOfRange(offset, length);
  }

  #fail(result: number, offset: number, width: number): never {
    switch (systemError(result, '', {}).code) {
      case 'EBADF':
        throw this.#closedError();
      case 'ERANGE':
        throw this.#outOfRange(offset, width);
      case 'EINVAL':
        // The addon takes no negative offset and no fraction for a number of bytes.
        if (!(offset >= 0 && Number.isInteger(offset))) throw this.#outOfRange(offset, width);
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

  #outOfRange(offset: number, length: number): VfioError {
    return new VfioError(
      'ERR_VFIO_OUT_OF_RANGE',
      `${length} bytes at ${offset} are not inside ${this.name} (${this.size} bytes)`,
      { device: this.#device },
    );
  }

  #closedError(): VfioError {
    return closedError(`${this.name} of ${this.#device}`);
  }
}

function isInt32OrUint32(value: number): boolean {
  return value >>> 0 === value || (value | 0) === value;
}
