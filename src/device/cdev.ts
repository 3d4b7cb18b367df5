/** A device through its own character device (/dev/vfio/devices/vfioN) and iommufd. */
import { constants as fsConstants } from 'node:fs';
import { join } from 'node:path';
import type { AddressSpace } from '../dma/address-space';
import { Ioas } from '../dma/ioas';
import type { IoasDevice } from '../dma/ioas-dirty';
import { type PasidDevice, Pasids, withPasids } from '../dma/pasids';
import { isErrno, systemError, VfioError } from '../errors';
import type { GivenFd } from '../given-fd';
import { hints } from '../hints';
import { deviceAttachIommufdPt, deviceBindIommufd, deviceDetachIommufdPt } from '../ioctl/cdev';
import { type IommuHwInfo, iommuHwInfo } from '../ioctl/iommufd';
import { native } from '../native';
import { findHolders } from '../pci/holders';
import { DEV_VFIO } from '../pci/paths';
import { listDirectory } from '../pci/sysfs';
import type { Attachment, IommufdAttachment } from './attachment';
import type { BusDevice } from './bus-device';
import { assertNode } from './given-node';
import { GroupSeat } from './group-seat';
import { Operations } from './operations';
import { PasidGuests } from './pasid-guests';
import { vfTokenBytes } from './vf-token';

export interface CdevOptions {
  readonly vfToken?: string;
  /** Without one, the device gets one of its own. */
  readonly addressSpace?: AddressSpace;
  /** A descriptor of the character device that was opened elsewhere. */
  readonly given?: GivenFd | undefined;
}

/** The device's node, if the kernel has one for it (CONFIG_VFIO_DEVICE_CDEV). */
export function cdevPath({ path }: { readonly path: string }): string | undefined {
  const name = cdevName(path);
  if (name === undefined) return undefined;
  return listDirectory(join(DEV_VFIO, 'devices')).includes(name)
    ? join(DEV_VFIO, 'devices', name)
    : undefined;
}

function cdevName(path: string): string | undefined {
  return listDirectory(join(path, 'vfio-dev')).find((entry) => /^vfio\d+$/.test(entry));
}

/** @throws ERR_VFIO_INVALID_ARGUMENT for a descriptor of another device */
function assertOf({ name, path }: BusDevice, given: GivenFd): void {
  const node = cdevName(path);
  if (node !== undefined) assertNode(given, join(path, 'vfio-dev', node, 'dev'), name);
}

/**
 * Open, bind to the iommufd of the address space, and attach.
 * @throws EBUSY (in use, also by way of its group), EACCES (permission or VF token), EINVAL,
 * EPERM (its group is somebody else's), ERR_VFIO_OTHER_ADDRESS_SPACE
 */
export async function openCdev(device: BusDevice, options: CdevOptions): Promise<Attachment> {
  const { vfToken, addressSpace, given } = options;
  if (given) assertOf(device, given);
  const fd = given?.take() ?? openNode(device);
  let seat: GroupSeat | undefined;
  let attachment: CdevAttachment | undefined;
  try {
    seat = await GroupSeat.take(device.iommuGroup, addressSpace);
    const taken = seat;
    const ioas = ioasOf(taken.space);
    const token = vfToken === undefined ? undefined : vfTokenBytes(vfToken);
    await taken.space.join(device, async () => {
      const id = await deviceBindIommufd(fd, ioas.iommufd, token);
      attachment = new CdevAttachment(device, fd, id, taken);
      await attachment.attach(ioas.id);
      await ioas.addDevice(attachment);
    });
    return attachment!;
  } catch (error) {
    await attachment?.operations.end();
    await native.closeAsync(fd);
    await (attachment?.release() ?? abandon(device, seat));
    throw error;
  }
}

/** A device that did not get as far as an attachment. */
async function abandon(device: BusDevice, seat: GroupSeat | undefined): Promise<void> {
  await seat?.space.leave(device);
  await seat?.leave();
}

class CdevAttachment implements Attachment, IommufdAttachment, IoasDevice, PasidDevice {
  readonly fd: number;
  readonly id: number;
  readonly operations: Operations;
  readonly #pasids: Pasids;
  readonly #guests = new PasidGuests((pasid) => this.detachPasid(pasid));
  /** Who it is to the address space. */
  readonly #member: object;
  readonly #seat: GroupSeat;

  constructor(device: BusDevice, fd: number, id: number, seat: GroupSeat) {
    this.#member = device;
    this.operations = new Operations(device.name);
    this.fd = fd;
    this.id = id;
    this.#seat = seat;
    this.#pasids = new Pasids(ioasOf(seat.space).iommufd, this);
  }

  get space(): AddressSpace {
    return this.#seat.space;
  }

  get iommufd(): IommufdAttachment {
    return this;
  }

  get hasPasids(): boolean {
    return this.#pasids.attached;
  }

  /** To another space of the same iommufd; the kernel replaces one by the other without a gap. */
  async move(space: AddressSpace): Promise<void> {
    const from = ioasOf(this.space);
    const to = ioasOf(space);
    to.assertSibling(from);
    this.#seat.assertAlone();
    if (this.hasPasids) throw withPasids('no move');
    const old = this.space;
    let moved = false;
    try {
      await space.join(this.#member, async () => {
        await this.attach(to.id);
        moved = true;
        await to.addDevice(this);
      });
    } catch (error) {
      if (moved) {
        await old.join(this.#member, async () => {
          await this.attach(from.id);
          from.removeDevice(this);
          await from.addDevice(this);
        });
      }
      await space.leave(this.#member, async () => to.removeDevice(this));
      throw error;
    }
    await old.leave(this.#member, async () => from.removeDevice(this));
    await this.#seat.move(space);
  }

  /** Also for the address space, which puts its devices onto other page tables. */
  attach(ptId: number, pasid?: number): Promise<number> {
    return this.operations.run(() => deviceAttachIommufdPt(this.fd, ptId, pasid));
  }

  detach(pasid: number): Promise<void> {
    return this.operations.run(() => deviceDetachIommufdPt(this.fd, pasid));
  }

  async attachPasid(pasid: number, space: AddressSpace): Promise<void> {
    const [own, other] = [ioasOf(this.space), ioasOf(space)];
    other.assertSibling(own);
    if (own.dirty.on) {
      throw new VfioError('ERR_VFIO_UNSUPPORTED', 'no PASIDs while dirty pages are tracked', {
        hint: 'a device is on page tables made for the one or for the other: dirty.stop() first',
      });
    }
    await this.#pasids.attach(pasid, other.id, own.id);
    try {
      // Of its own space, the device is a part already.
      if (space === this.space) this.#guests.leave(pasid);
      else this.#guests.enter(pasid, space);
      other.refresh();
      space.assertUsable();
    } catch (error) {
      await this.detachPasid(pasid);
      throw error;
    }
  }

  async detachPasid(pasid: number): Promise<void> {
    await this.#pasids.detach(pasid, ioasOf(this.space).id);
    this.#guests.leave(pasid);
  }

  hwInfo(): IommuHwInfo {
    return iommuHwInfo(ioasOf(this.space).iommufd, this.id);
  }

  async release(): Promise<void> {
    const { space } = this;
    try {
      await space.leave(this.#member, async () => {
        this.#pasids.forget();
        ioasOf(space).removeDevice(this);
      });
    } finally {
      this.#guests.leaveAll();
      await this.#seat.leave();
    }
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

function openNode(device: BusDevice): number {
  const path = cdevPath(device);
  if (path === undefined) {
    throw new VfioError('ERR_VFIO_UNAVAILABLE', `${device.name} has no character device of VFIO`, {
      device: device.name,
      hint: "the kernel lacks CONFIG_VFIO_DEVICE_CDEV; { backend: 'group' } works without",
    });
  }
  const fd = native.open(path, fsConstants.O_RDWR);
  if (fd >= 0) return fd;
  const error = systemError(fd, `open ${path}`, { syscall: 'open', path });
  const hint = isErrno(error, 'EBUSY')
    ? hints.groupBusy(path, findHolders(path))
    : hints.nodePermission(path);
  throw systemError(fd, `open ${path}`, { syscall: 'open', path, device: device.name, hint });
}
