/** The interrupts of a device, by kind, and the two that are about the device itself: ERR and REQ. */
import { isErrno, VfioError } from '../errors';
import { VFIO_DEVICE_FLAGS_PCI } from '../ioctl/abi/constants';
import { type DeviceInfo, deviceGetIrqInfo, type IrqInfo } from '../ioctl/device';
import { Irq, type IrqKind, type IrqListener, type IrqName, irqIndices } from '../irq/irq';
import { assertFunction } from '../irq/listeners';

/** 'error' is ERR, 'request' REQ. */
export type DeviceEvent = 'error' | 'request';

const eventIrqs: Readonly<Record<DeviceEvent, IrqKind>> = { error: 'err', request: 'req' };

export class DeviceIrqs {
  readonly #bdf: string;
  readonly #fd: number;
  /** Whether indices are those of PCI: a platform device counts its interrupts. */
  readonly #named: boolean;
  readonly #count: number;
  readonly #irqs = new Map<number, Irq>();

  /** `release` closes the device: an unbind, or VFs that are to go, wait for ever for a user who does not listen. */
  constructor(bdf: string, fd: number, info: DeviceInfo, release: () => void) {
    this.#bdf = bdf;
    this.#fd = fd;
    this.#named = (info.flags & VFIO_DEVICE_FLAGS_PCI) !== 0;
    this.#count = info.numIrqs;
    if (!this.kinds().includes('req')) return;
    const request = this.get('req');
    request.on(() => {
      if (request.listeners === 1) release();
    });
    enableQuietly(request);
  }

  /** @throws ERR_VFIO_NO_INTERRUPT */
  get(kind: IrqName): Irq {
    const index = this.#indexOf(kind);
    const known = index === undefined ? undefined : this.#irqs.get(index);
    if (known) return known;

    const info = index === undefined ? undefined : this.#info(index);
    if (index === undefined || !info || info.count === 0) {
      const has = this.#named
        ? this.kinds().join(', ')
        : `${this.#count} of them, by number from 0 on`;
      throw new VfioError('ERR_VFIO_NO_INTERRUPT', `${this.#bdf} has no ${kind} interrupt`, {
        device: this.#bdf,
        hint: `it has ${has}`,
      });
    }
    const irq = new Irq(kind, this.#fd, info);
    this.#irqs.set(index, irq);
    return irq;
  }

  kinds(): IrqKind[] {
    if (!this.#named) return [];
    const kinds = Object.keys(irqIndices) as IrqKind[];
    return kinds.filter((kind) => (this.#info(irqIndices[kind])?.count ?? 0) > 0);
  }

  on(event: DeviceEvent, listener: IrqListener): () => void {
    assertFunction(listener, 'the listener');
    const irq = this.get(eventIrqs[event] ?? event);
    enableQuietly(irq);
    return irq.on(listener);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#irqs.values()].map((irq) => irq.close()));
  }

  #indexOf(kind: IrqName): number | undefined {
    if (typeof kind === 'number') return kind >= 0 && kind < this.#count ? kind : undefined;
    return this.#named ? irqIndices[kind] : undefined;
  }

  #info(index: number): IrqInfo | undefined {
    try {
      return deviceGetIrqInfo(this.#fd, index);
    } catch (error) {
      // The kernel counts kinds that it then refuses (ERR on conventional PCI).
      if (isErrno(error, 'EINVAL')) return undefined;
      throw error;
    }
  }
}

/**
 * For interrupts that have no say in how long the process lives, and nobody who waits until they are on:
 * that they cannot be is a warning.
 */
function enableQuietly(irq: Irq): void {
  irq.unref();
  irq.add([0]).catch((error) => {
    // A device that is closed meanwhile has nobody to tell.
    if (!isErrno(error, 'ERR_VFIO_CLOSED')) process.emitWarning(error);
  });
}
