/** The address spaces of others in which a device is by its PASIDs: one that closes has them detached first. */
import type { AddressSpace } from '../dma/address-space';
import type { Closable } from '../dma/live-mappings';
import { isErrno } from '../errors';

export class PasidGuests {
  readonly #detach: (pasid: number) => Promise<void>;
  readonly #guests = new Map<number, { readonly space: AddressSpace; readonly guest: Closable }>();
  #deviceGone = () => {};
  /** The device is closed, and off all its page tables. */
  readonly #gone = new Promise<void>((resolve) => {
    this.#deviceGone = resolve;
  });

  constructor(detach: (pasid: number) => Promise<void>) {
    this.#detach = detach;
  }

  /** The PASID is in `space` now, and in no other. */
  enter(pasid: number, space: AddressSpace): void {
    this.leave(pasid);
    const guest = { close: () => this.#close(pasid) };
    this.#guests.set(pasid, { space, guest });
    space.adopt(guest);
  }

  leave(pasid: number): void {
    const entry = this.#guests.get(pasid);
    entry?.space.disown(entry.guest);
    this.#guests.delete(pasid);
  }

  leaveAll(): void {
    for (const pasid of [...this.#guests.keys()]) this.leave(pasid);
    this.#deviceGone();
  }

  async #close(pasid: number): Promise<void> {
    try {
      await this.#detach(pasid);
    } catch (error) {
      if (!isErrno(error, 'ERR_VFIO_CLOSED') && !isErrno(error, 'EBADF')) throw error;
      // The device is being closed at the same time.
      await this.#gone;
    }
  }
}
