/** Work on an address space by somebody who is no child of it yet. */
import type { AddressSpace } from '../dma/address-space';
import { closedError } from '../errors';

/** The space, if it is asked to close in the meantime, closes after `work`. @throws ERR_VFIO_CLOSED */
export async function keepingOpen<T>(space: AddressSpace, work: () => Promise<T>): Promise<T> {
  if (space.closed) throw closedError('address space');
  const working = work();
  const guest = { close: () => working.then(nothing, nothing) };
  space.adopt(guest);
  try {
    return await working;
  } finally {
    space.disown(guest);
  }
}

function nothing(): void {}
