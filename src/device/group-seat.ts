/** The place of an IOMMU group in an address space of iommufd. */
import { AddressSpace } from '../dma/address-space';
import { Ioas } from '../dma/ioas';
import { closedError, VfioError } from '../errors';
import { hints } from '../hints';

/** Seats taken, by group. */
const seats = new Map<number, GroupSeat>();

/** For the kernel, all devices of a group have one owner, an iommufd, and one page table. */
export class GroupSeat {
  readonly #group: number | undefined;
  #space: AddressSpace;
  #ownsSpace: boolean;
  #users = 0;

  private constructor(group: number | undefined, given: AddressSpace | undefined) {
    this.#group = group;
    this.#space = given ?? new AddressSpace(Ioas.open());
    this.#ownsSpace = given === undefined;
    if (group !== undefined) seats.set(group, this);
  }

  /**
   * The seat of a group, in the space given or that of its devices that are open, or a new one; each
   * call is paid back by one `leave`. A device without a group (noiommu) has a seat for itself.
   * @throws ERR_VFIO_OTHER_ADDRESS_SPACE
   */
  static async take(
    group: number | undefined,
    given: AddressSpace | undefined,
  ): Promise<GroupSeat> {
    // Waiting for the very space that is given would be for ever: it waits for what is being opened in it.
    if (given?.closed) throw closedError('address space');
    const old = group === undefined ? undefined : seats.get(group);
    if (group !== undefined && old?.space.closed) {
      // It has devices of the group until it is done.
      await old.space.close();
      if (seats.get(group) === old) seats.delete(group);
    }
    const seat =
      (group === undefined ? undefined : seats.get(group)) ?? new GroupSeat(group, given);
    if (given !== undefined && seat.space !== given) {
      throw new VfioError(
        'ERR_VFIO_OTHER_ADDRESS_SPACE',
        `IOMMU group ${group} is in another address space already`,
        { hint: hints.oneSpacePerGroup() },
      );
    }
    seat.#users += 1;
    return seat;
  }

  get space(): AddressSpace {
    return this.#space;
  }

  /** @throws ERR_VFIO_OTHER_ADDRESS_SPACE if another device of the group is open, which cannot stay behind */
  assertAlone(): void {
    if (this.#users === 1) return;
    throw new VfioError('ERR_VFIO_OTHER_ADDRESS_SPACE', 'another device of the group is open', {
      hint: hints.oneSpacePerGroup(),
    });
  }

  /** The group is in another space now. */
  async move(space: AddressSpace): Promise<void> {
    const [old, owned] = [this.#space, this.#ownsSpace];
    this.#space = space;
    this.#ownsSpace = false;
    if (owned) await old.close();
  }

  /** With the last to leave goes the space, if it was made for the group. */
  async leave(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    if (this.#group !== undefined && seats.get(this.#group) === this) seats.delete(this.#group);
    if (this.#ownsSpace && !this.#space.closed) await this.#space.close();
  }
}
