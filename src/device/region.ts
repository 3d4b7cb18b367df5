/** A region of a device: a BAR, the expansion ROM, config space, VGA. */
import { constants } from 'node:os';
import { declarePeer } from '../dma/peer-region';
import { check, VfioError } from '../errors';
import * as abi from '../ioctl/abi/constants';
import type { RegionInfo } from '../ioctl/device';
import { deviceFeatureDmaBuf } from '../ioctl/device-features';
import type { EventfdHandle } from '../irq/eventfd';
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
  readonly #mapping: RegionMapping;
  readonly #ioeventfds = new Set<Ioeventfd>();
  #closed = false;

  /** Made by the device. */
  constructor(device: string, deviceFd: number, name: string, info: RegionInfo) {
    const mapping = new RegionMapping(`${name} of ${device}`, deviceFd, info);
    super(device, name, info.size, mapping.access, mapping.wholeRange);
    this.index = info.index;
    this.#index = info.index;
    this.#device = device;
    this.#deviceFd = deviceFd;
    this.#fileOffset = info.offset;
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
    return { device: this.#device, name: this.name, size: this.size, range };
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
    const width = options.width / 8;
    this.#assertInside(options.offset, width);
    if (options.offset % width !== 0) this.fail(-constants.errno.EINVAL, options.offset, width);
    const ioeventfd = new Ioeventfd(this.#deviceFd, this.#fileOffset, options, eventfd);
    this.#ioeventfds.add(ioeventfd);
    return ioeventfd;
  }

  /** Map the region anew after the device did not answer (EIO). */
  restore(): void {
    if (this.#closed) throw this.closedError();
    this.#mapping.restore();
  }

  /** Called by the device as it closes. The mapping is gone at once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const ioeventfd of this.#ioeventfds) ioeventfd.close();
    this.#mapping.close();
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
    if (Number.isSafeInteger(offset) && offset >= 0 && offset + length <= this.size) return;
    throw this.outOfRange(offset, length);
  }
}
