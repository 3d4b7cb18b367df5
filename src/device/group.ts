/** An IOMMU group opened for user space (/dev/vfio/N). */
import { constants as fsConstants } from 'node:fs';
import { join } from 'node:path';
import { throwFirst } from '../all-done';
import { AddressSpace } from '../dma/address-space';
import { Container } from '../dma/container';
import { closedError, isErrno, systemError, VfioError } from '../errors';
import type { GivenFd } from '../given-fd';
import { hints } from '../hints';
import { VFIO_GROUP_FLAGS_VIABLE } from '../ioctl/abi/constants';
import { groupGetDeviceFd, groupGetStatus } from '../ioctl/group';
import { native } from '../native';
import { findHolders } from '../pci/holders';
import { blockingMembers, isUnprotected } from '../pci/iommu-group';
import { DEV_VFIO, SYS } from '../pci/paths';
import { assertNode } from './given-node';

export interface GroupOptions {
  /** Without one, the group gets one of its own. */
  readonly addressSpace?: AddressSpace;
  /** A descriptor of the group that was opened elsewhere: taken if the group is not open yet. */
  readonly given?: GivenFd | undefined;
  /** The devices have no IOMMU in front. */
  readonly unsafe?: 'noiommu';
}

/** The groups this thread has open: the kernel opens each only once. */
const openGroups = new Map<number, Group>();

export class Group {
  readonly id: number;
  readonly space: AddressSpace;
  readonly #fd: number;
  readonly #container: Container;
  readonly #ownsSpace: boolean;
  /** Devices open, or being opened. */
  #users = 0;
  readonly #attached: Promise<void>;
  #closing: Promise<void> | undefined;

  private constructor(
    id: number,
    fd: number,
    space: AddressSpace,
    container: Container,
    ownsSpace: boolean,
  ) {
    this.id = id;
    this.space = space;
    this.#fd = fd;
    this.#container = container;
    this.#ownsSpace = ownsSpace;
    this.#attached = this.#attach();
  }

  /**
   * The group `id`, opened, or shared with devices of this thread that opened it before. Each call
   * is paid back by one `release`.
   * @throws EBUSY (held by another process), EACCES, ERR_VFIO_GROUP_NOT_VIABLE,
   * ERR_VFIO_OTHER_ADDRESS_SPACE
   */
  static async acquire(id: number, options: GroupOptions = {}): Promise<Group> {
    // One that is closing is busy for the kernel until it is gone.
    let group = openGroups.get(id);
    for (; group?.closing; group = openGroups.get(id)) await group.closing;
    group ??= await Group.#open(id, options);
    const { addressSpace } = options;
    if (addressSpace !== undefined && group.space !== addressSpace) {
      throw new VfioError(
        'ERR_VFIO_OTHER_ADDRESS_SPACE',
        `IOMMU group ${id} is in another address space already`,
        { hint: hints.oneSpacePerGroup() },
      );
    }
    group.#users += 1;
    try {
      await group.#attached;
      return group;
    } catch (error) {
      await group.release();
      throw error;
    }
  }

  /** Whether this thread has the group open. */
  static isOpen(id: number): boolean {
    const group = openGroups.get(id);
    return group !== undefined && !group.closing;
  }

  /** Its descriptor. */
  get fd(): number {
    return this.#fd;
  }

  /** Pending from the last `release` until the kernel has the group back. */
  get closing(): Promise<void> | undefined {
    return this.#closing;
  }

  /**
   * GET_DEVICE_FD. `argument`: the device's name, and `vf_token=UUID` behind a space.
   * @throws EACCES, EINVAL, ENODEV: see `groupGetDeviceFd`
   */
  async getDeviceFd(argument: string): Promise<number> {
    if (this.#closing) throw closedError(`IOMMU group ${this.id}`);
    const fd = await groupGetDeviceFd(this.#fd, argument);
    try {
      this.#container.deviceOpened();
      this.space.assertUsable();
      return fd;
    } catch (error) {
      await native.closeAsync(fd);
      throw error;
    }
  }

  /** One device less; the last closes the group, and its address space if that came with it. */
  async release(): Promise<void> {
    this.#users -= 1;
    if (this.#users === 0) this.#closing = this.#close();
    await this.#closing;
  }

  async #attach(): Promise<void> {
    await this.space.join(this, () => this.#container.attachGroup(this.#fd));
  }

  /** All of it, whichever part fails: the kernel takes out of the container what is not detached. */
  async #close(): Promise<void> {
    await this.#attached.catch(() => {});
    const left = this.space.leave(this, () => this.#container.detachGroup(this.#fd));
    const ends = await Promise.allSettled([left]);
    await native.closeAsync(this.#fd);
    openGroups.delete(this.id);
    // A space that closes its devices itself is waiting for this one.
    if (this.#ownsSpace && !this.space.closed) {
      ends.push(...(await Promise.allSettled([this.space.close()])));
    }
    throwFirst(ends);
  }

  static async #open(id: number, { addressSpace, given, unsafe }: GroupOptions): Promise<Group> {
    const space = addressSpace ?? new AddressSpace(Container.open(unsafe));
    try {
      // First: what is open stays busy for the kernel.
      const container = containerOf(space);
      const fd = openViable(id, given, unsafe);
      const group = new Group(id, fd, space, container, addressSpace === undefined);
      openGroups.set(id, group);
      return group;
    } catch (error) {
      if (addressSpace === undefined) await space.close();
      throw error;
    }
  }
}

function containerOf(space: AddressSpace): Container {
  if (space.kernelSpace instanceof Container) return space.kernelSpace;
  throw new VfioError(
    'ERR_VFIO_OTHER_ADDRESS_SPACE',
    `a group cannot be put into an address space of ${space.backend}`,
    {
      hint: "open the device with { backend: 'iommufd' }, or the address space with { backend: 'group' }",
    },
  );
}

/** Synchronous: between the check for an open group and its entry there, no other may open it. */
function openViable(id: number, given: GivenFd | undefined, unsafe: 'noiommu' | undefined): number {
  const name = `${unsafe ? `${unsafe}-` : ''}${id}`;
  const path = `${DEV_VFIO}/${name}`;
  if (given) assertNode(given, join(SYS, 'class/vfio', name, 'dev'), `IOMMU group ${id}`);
  const fd = given?.take() ?? native.open(path, fsConstants.O_RDWR);
  if (fd < 0) throw openError(fd, id, path);
  try {
    if (groupGetStatus(fd) & VFIO_GROUP_FLAGS_VIABLE) return fd;
    throw new VfioError('ERR_VFIO_GROUP_NOT_VIABLE', `IOMMU group ${id} is not viable`, {
      path,
      hint: hints.groupNotViable(id, blockingMembers(id)),
    });
  } catch (error) {
    native.close(fd);
    throw error;
  }
}

function openError(result: number, id: number, path: string): VfioError {
  const error = systemError(result, `open ${path}`, { syscall: 'open', path });
  const hint = isErrno(error, 'EBUSY')
    ? hints.groupBusy(path, findHolders(path))
    : isUnprotected(id) && isErrno(error, 'ENOENT')
      ? hints.noIommu()
      : isErrno(error, 'EACCES') || isErrno(error, 'EPERM')
        ? path.includes('noiommu')
          ? hints.noiommuPermission(path)
          : hints.groupPermission(path, id)
        : hints.modulesMissing();
  return systemError(result, `open ${path}`, { syscall: 'open', path, hint });
}
