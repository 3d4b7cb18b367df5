/** A region of a device: a BAR, the expansion ROM, config space, VGA. */
import { declarePeer } from '../dma/peer-region';
import { check, invalidArgument, isErrno, VfioError } from '../errors';
import * as abi from '../ioctl/abi/constants';
import type { RegionInfo } from '../ioctl/device';
import { deviceFeatureDmaBuf } from '../ioctl/device-features';
import { type EventfdHandle, eventfdOf } from '../irq/eventfd';
import { native } from '../native';
import type { SharedRegion } from './attached-region';
import { Ioeventfd, type IoeventfdOptions } from './ioeventfd';
import { RegionAccess } from './region-access';
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

export class Region extends RegionAccess {
  readonly index: number;
  readonly #index: number;
  readonly #device: string;
  readonly #deviceFd: number;
  readonly #fileOffset: number;
  readonly #flags: number;
  readonly #mapping: RegionMapping;
  readonly #ioeventfds = new Set<Ioeventfd>();
  #closed = false;

  /** Made by the device. */
  constructor(device: string, deviceFd: number, name: string, info: RegionInfo) {
    const mapping = new RegionMapping(`${name} of ${device}`, deviceFd, info);
    super(device, name, info, mapping.access, mapping.wholeRange);
    this.index = info.index;
    this.#index = info.index;
    this.#device = device;
    this.#deviceFd = deviceFd;
    this.#fileOffset = info.offset;
    this.#flags = info.flags;
    this.#mapping = mapping;
    declarePeer(this, {
      size: info.size,
      address: () => this.#wholeAddress(),
      exportDmaBuf: (offset, size) => this.#dmaBuf(offset, size),
    });
  }

  /** Whether accesses go to memory, to all of the region or to parts; otherwise each is a system call. */
  get mapped(): boolean {
    return this.#mapping.extent !== 'none';
  }

  /**
   * Read bytes through the kernel, in widths of its choice: for config space and ROM, not for
   * registers with side effects. Returns how many were read.
   */
  readBytes(offset: number, into: Uint8Array): number {
    // Not what the array says of itself: as many bytes as the kernel would write.
    const length = bytesOf(into);
    this.#assertInside(offset, length);
    const what = `reading ${length} bytes of ${this.name}`;
    const details = { syscall: 'pread', device: this.#device };
    return check(native.pread(this.#deviceFd, into, this.#fileOffset + offset), what, details);
  }

  /**
   * Where the region is mapped in this process: what a container takes to map it for other devices.
   * @throws ERR_VFIO_UNSUPPORTED if it is not mapped, or in parts only
   */
  get address(): bigint {
    return this.#wholeAddress();
  }

  /**
   * The region for another thread of this process (`attachRegion`), by numbers that can be posted.
   * @throws ERR_VFIO_UNSUPPORTED if it is not mapped, or in parts only
   */
  share(): SharedRegion {
    if (this.#closed) throw this.closedError();
    const range = this.#mapping.wholeRange;
    if (range === undefined) throw this.#notWhole();
    const flags = this.#flags;
    return { device: this.#device, name: this.name, size: this.size, flags, range };
  }

  /**
   * A dma-buf of whole pages of a BAR, for others to map (VFIO_DEVICE_FEATURE_DMA_BUF, Linux 6.19).
   * The caller closes the descriptor, or gives it away. Whoever has mapped it loses it when the device
   * is reset, enters low power or is closed.
   * @throws ENOTTY on kernels without it
   */
  exportDmaBuf(offset: number, size: number): number {
    return this.#dmaBuf(offset, size);
  }

  /**
   * Have the kernel write to the region whenever `eventfd` is signaled, whoever does that (a VMM's
   * ioeventfd, another process), until it is closed, or the region. BARs only.
   * @throws EINVAL for another region, or a width that the kernel does not have (64 bits), EEXIST for
   * a write that is there already, ENOSPC from 1000 on
   */
  ioeventfd(eventfd: EventfdHandle, options: IoeventfdOptions): Ioeventfd {
    const { offset, width: bits, value } = options;
    const fd = eventfdOf(eventfd);
    if (![8, 16, 32, 64].includes(bits)) {
      throw invalidArgument(`not a width in bits: ${String(bits)}`, { device: this.#device });
    }
    if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) {
      throw invalidArgument(`not a value to write: ${String(value)}`, { device: this.#device });
    }
    const width = bits / 8;
    this.#assertInside(offset, width);
    if (offset % width !== 0) throw this.unaligned(offset, width);
    const data = BigInt.asUintN(bits, BigInt(value));
    const write = { offset: this.#fileOffset + offset, width: bits, data };
    const ioeventfd = new Ioeventfd(this.#deviceFd, write, fd, (closed) =>
      this.#ioeventfds.delete(closed),
    );
    this.#ioeventfds.add(ioeventfd);
    return ioeventfd;
  }

  /** Map the region anew after the device did not answer (EIO). */
  restore(): void {
    if (this.#closed) throw this.closedError();
    this.#mapping.restore();
  }

  /** Whether its mapping is gone. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Let go of the mapping and the ioeventfds at once; the device closes its regions itself. It goes on
   * without, and gives a new one when it is asked for the region again. Idempotent.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const failed: unknown[] = [];
    for (const ioeventfd of [...this.#ioeventfds]) {
      try {
        ioeventfd.close();
      } catch (error) {
        ioeventfd.forget();
        // An unplugged device has none any more.
        if (!isErrno(error, 'EIO') && !isErrno(error, 'ENODEV')) failed.push(error);
      }
    }
    this.#mapping.close();
    if (failed.length > 0) throw failed[0];
  }

  #wholeAddress(): bigint {
    if (this.#closed) throw this.closedError();
    const { address } = this.#mapping;
    if (address !== undefined) return address;
    throw this.#notWhole();
  }

  #dmaBuf(offset: number, size: number): number {
    this.#assertInside(offset, size);
    return deviceFeatureDmaBuf(this.#deviceFd, this.#index, [
      { offset: BigInt(offset), length: BigInt(size) },
    ]);
  }

  #notWhole(): VfioError {
    return new VfioError('ERR_VFIO_UNSUPPORTED', `${this.name} is not mapped as a whole`, {
      device: this.#device,
    });
  }

  #assertInside(offset: number, length: number): void {
    if (this.#closed) throw this.closedError();
    const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
    if (whole && offset >= 0 && length >= 0 && offset + length <= this.size) return;
    throw this.outOfRange(offset, length);
  }
}

const byteLength = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  'byteLength',
)!.get!;

function bytesOf(into: Uint8Array): number {
  if (ArrayBuffer.isView(into) && into instanceof Uint8Array) return byteLength.call(into);
  throw invalidArgument('what is read goes into a Uint8Array');
}
