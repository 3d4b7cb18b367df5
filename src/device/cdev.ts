/** A device through its own character device (/dev/vfio/devices/vfioN) and iommufd. */
import { constants as fsConstants } from 'node:fs';
import { join } from 'node:path';
import { AddressSpace } from '../dma/address-space';
import { Ioas } from '../dma/ioas';
import type { IoasDevice } from '../dma/ioas-dirty';
import { check, isErrno, systemError, VfioError } from '../errors';
import { hints } from '../hints';
import { deviceAttachIommufdPt, deviceBindIommufd } from '../ioctl/cdev';
import { native } from '../native';
import { findHolders } from '../pci/holders';
import { DEV_VFIO } from '../pci/paths';
import { listDirectory, type PciDevice } from '../pci/sysfs';
import type { Attachment } from './attachment';
import { vfTokenBytes } from './vf-token';

export interface CdevOptions {
  readonly vfToken?: string;
  /** Without one, the device gets one of its own. */
  readonly addressSpace?: AddressSpace;
  /** A descriptor of the character device that was opened elsewhere; owned from now on. */
  readonly fd?: number;
}

/** The device's node, if the kernel has one for it (CONFIG_VFIO_DEVICE_CDEV). */
export function cdevPath({ path }: PciDevice): string | undefined {
  const name = listDirectory(join(path, 'vfio-dev')).find((entry) => /^vfio\d+$/.test(entry));
  if (name === undefined) return undefined;
  return listDirectory(join(DEV_VFIO, 'devices')).includes(name)
    ? join(DEV_VFIO, 'devices', name)
    : undefined;
}

/**
 * Open, bind to the iommufd of the address space, and attach.
 * @throws EBUSY (in use, also by way of its group), EACCES (permission or VF token), EINVAL,
 * EPERM (its group is somebody else's), ERR_VFIO_OTHER_ADDRESS_SPACE
 */
export async function openCdev(pci: PciDevice, options: CdevOptions): Promise<Attachment> {
  const { vfToken, addressSpace } = options;
  const fd = options.fd === undefined ? openNode(pci) : adopt(options.fd);
  let seat: Seat | undefined;
  try {
    seat = await Seat.take(pci.iommuGroup, addressSpace);
    const ioas = ioasOf(seat.space);
    const token = vfToken === undefined ? undefined : vfTokenBytes(vfToken);
    const id = await deviceBindIommufd(fd, ioas.iommufd, token);
    const attachment = new CdevAttachment(fd, id, seat);
    await attachment.attach(ioas.id);
    ioas.addDevice(attachment);
    await seat.space.joined('kept');
    return attachment;
  } catch (error) {
    await native.closeAsync(fd);
    await seat?.leave();
    throw error;
  }
}

/** Seats taken, by IOMMU group. */
const seats = new Map<number, Seat>();

/**
 * A group's place in an address space. For the kernel, all devices of a group have one owner, an
 * iommufd, and one page table.
 */
class Seat {
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

  /** One user more of the seat of a group, with the space given or that of the others, or a new one. */
  static async take(group: number | undefined, given: AddressSpace | undefined): Promise<Seat> {
    const found = () => (group === undefined ? undefined : seats.get(group));
    // What closes its devices has to be done with that: until then, the group is theirs.
    for (let seat = found(); seat?.space.closed; seat = found()) await seat.space.close();
    const seat = found() ?? new Seat(group, given);
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

  get shared(): boolean {
    return this.#users > 1;
  }

  /** The group is in another space now. */
  async move(space: AddressSpace): Promise<void> {
    const [old, owned] = [this.#space, this.#ownsSpace];
    this.#space = space;
    this.#ownsSpace = false;
    await space.joined('kept');
    if (owned) await old.close();
  }

  /** One user less; with the last goes the space, if it came with the first. */
  async leave(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    if (this.#group !== undefined && seats.get(this.#group) === this) seats.delete(this.#group);
    if (this.#ownsSpace && !this.#space.closed) await this.#space.close();
  }
}

class CdevAttachment implements Attachment, IoasDevice {
  readonly fd: number;
  readonly id: number;
  readonly #seat: Seat;

  constructor(fd: number, id: number, seat: Seat) {
    this.fd = fd;
    this.id = id;
    this.#seat = seat;
  }

  get space(): AddressSpace {
    return this.#seat.space;
  }

  /** To another space of the same iommufd; the kernel replaces one by the other without a gap. */
  async move(space: AddressSpace): Promise<void> {
    const from = ioasOf(this.space);
    const to = ioasOf(space);
    if (from.iommufd !== to.iommufd) {
      throw new VfioError(
        'ERR_VFIO_OTHER_ADDRESS_SPACE',
        'the address space is of another iommufd',
        {
          hint: 'make it by sibling(): spaces of one iommufd can exchange devices',
        },
      );
    }
    if (this.#seat.shared) {
      throw new VfioError('ERR_VFIO_OTHER_ADDRESS_SPACE', 'another device of its group is open', {
        hint: hints.oneSpacePerGroup(),
      });
    }
    await this.attach(to.id);
    from.removeDevice(this);
    to.addDevice(this);
    await this.#seat.move(space);
  }

  attach(ptId: number): Promise<number> {
    return deviceAttachIommufdPt(this.fd, ptId);
  }

  async release(): Promise<void> {
    ioasOf(this.space).removeDevice(this);
    await this.#seat.leave();
  }
}

function ioasOf(space: AddressSpace): Ioas {
  if (space.kernelSpace instanceof Ioas) return space.kernelSpace;
  throw new VfioError(
    'ERR_VFIO_OTHER_ADDRESS_SPACE',
    `a device cannot be attached to an address space of ${space.backend} by iommufd`,
    {
      hint: "open the device with { backend: 'group' }, or the address space with { backend: 'iommufd' }",
    },
  );
}

function adopt(fd: number): number {
  check(native.adoptFd(fd), 'device descriptor', { syscall: 'fcntl' });
  return fd;
}

function openNode(pci: PciDevice): number {
  const path = cdevPath(pci);
  if (path === undefined) {
    throw new VfioError('ERR_VFIO_UNAVAILABLE', `${pci.bdf} has no character device of VFIO`, {
      device: pci.bdf,
      hint: "the kernel lacks CONFIG_VFIO_DEVICE_CDEV; { backend: 'group' } works without",
    });
  }
  const fd = native.open(path, fsConstants.O_RDWR);
  if (fd >= 0) return fd;
  const error = systemError(fd, `open ${path}`, { syscall: 'open', path });
  const hint = isErrno(error, 'EBUSY')
    ? hints.groupBusy(path, findHolders(path))
    : hints.nodePermission(path);
  throw systemError(fd, `open ${path}`, { syscall: 'open', path, device: pci.bdf, hint });
}
