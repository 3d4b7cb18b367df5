/** Dirty tracking of an IOAS: the IOMMU notes it, in page tables that were made for that. */
import { allDone } from '../all-done';
import { isErrno, VfioError } from '../errors';
import {
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
  IOMMU_HWPT_DIRTY_TRACKING_ENABLE,
  IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
} from '../ioctl/abi/iommufd-constants';
import { readDirtyBitmap } from '../ioctl/dirty-bitmap';
import { iommuDestroy } from '../ioctl/iommufd';
import {
  iommuHwptAlloc,
  iommuHwptGetDirtyBitmap,
  iommuHwptSetDirtyTracking,
} from '../ioctl/iommufd-hwpt';
import { iommuIoasUnmap } from '../ioctl/iommufd-ioas';
import { assertUnmapped, type DirtyTracking } from './backend';
import { withPasids } from './pasids';

/** A device inside, and how it is put onto a page table. */
export interface IoasDevice {
  /** Its id in the iommufd. */
  readonly id: number;
  /** It has PASIDs, and takes no page tables but those made for that. */
  readonly hasPasids?: boolean;
  /** Replace what it is attached to: an IOAS, or a HWPT of it. */
  attach(ptId: number): Promise<unknown>;
}

export class IoasDirtyTracking implements DirtyTracking {
  readonly #iommufd: number;
  readonly #ioas: number;
  readonly #devices: ReadonlySet<IoasDevice>;
  /** Page table of each device that is tracked. */
  readonly #hwpts = new Map<IoasDevice, number>();
  #on = false;
  #turn: Promise<void> = Promise.resolve();

  constructor(iommufd: number, ioas: number, devices: ReadonlySet<IoasDevice>) {
    this.#iommufd = iommufd;
    this.#ioas = ioas;
    this.#devices = devices;
  }

  get on(): boolean {
    return this.#on;
  }

  start(): Promise<void> {
    return this.#inTurn(async () => {
      this.#on = true;
      try {
        for (const device of this.#devices) await this.#track(device);
      } catch (error) {
        await this.#stop();
        throw error;
      }
    });
  }

  stop(): Promise<void> {
    return this.#inTurn(() => this.#stop());
  }

  /** A device has come in: what it writes to counts, too. @throws as `start` */
  include(device: IoasDevice): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#on) await this.#track(device);
    });
  }

  read(iova: bigint, size: bigint, pageSize: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#readAll(iova, size, pageSize, 0);
  }

  async readAndUnmap(
    iova: bigint,
    size: bigint,
    pageSize: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const flags = IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR;
    const bits = await this.#readAll(iova, size, pageSize, flags);
    assertUnmapped(size, await iommuIoasUnmap(this.#iommufd, this.#ioas, iova, size));
    return bits;
  }

  /** The device is closed, and no longer on its page table. */
  forget(device: IoasDevice): void {
    const hwpt = this.#hwpts.get(device);
    if (hwpt === undefined) return;
    this.#hwpts.delete(device);
    iommuDestroy(this.#iommufd, hwpt);
  }

  async #readAll(
    iova: bigint,
    size: bigint,
    pageSize: number,
    flags: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.#on) {
      throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'dirty tracking was not started');
    }
    let all: Uint8Array<ArrayBuffer> | undefined;
    for (const hwpt of this.#hwpts.values()) {
      const bits = await iommuHwptGetDirtyBitmap(this.#iommufd, hwpt, iova, size, pageSize, flags);
      if (all) for (let i = 0; i < bits.length; i++) all[i]! |= bits[i]!;
      else all = bits;
    }
    // Without devices, nobody has written.
    return all ?? readDirtyBitmap(size, pageSize, async () => {});
  }

  /** One after the other: what two begin at once would put a device onto two page tables. */
  #inTurn(what: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(what);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #track(device: IoasDevice): Promise<void> {
    if (this.#hwpts.has(device)) return;
    if (device.hasPasids) throw withPasids('no dirty tracking by the IOMMU');
    const flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
    try {
      const hwpt = await iommuHwptAlloc(this.#iommufd, device.id, this.#ioas, flags);
      try {
        await device.attach(hwpt);
      } catch (error) {
        iommuDestroy(this.#iommufd, hwpt);
        throw error;
      }
      this.#hwpts.set(device, hwpt);
      try {
        await iommuHwptSetDirtyTracking(this.#iommufd, hwpt, IOMMU_HWPT_DIRTY_TRACKING_ENABLE);
      } catch (error) {
        await Promise.allSettled([this.#untrack(device, hwpt)]);
        throw error;
      }
    } catch (error) {
      if (!isErrno(error, 'EOPNOTSUPP')) throw error;
      throw new VfioError(
        'ERR_VFIO_UNSUPPORTED',
        'this IOMMU does not note what devices write to',
        { hint: 'a device may note it itself: device.dmaLogging', cause: error },
      );
    }
  }

  async #stop(): Promise<void> {
    this.#on = false;
    await allDone([...this.#hwpts].map(([device, hwpt]) => this.#untrack(device, hwpt)));
  }

  /** Back to the page table that the kernel keeps for the IOAS. One that cannot go keeps its own until it is closed. */
  async #untrack(device: IoasDevice, hwpt: number): Promise<void> {
    await device.attach(this.#ioas);
    this.#hwpts.delete(device);
    iommuDestroy(this.#iommufd, hwpt);
  }
}
