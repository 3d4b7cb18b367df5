/** An IOMMU group opened for user space (/dev/vfio/N). */
import { constants as fsConstants } from 'node:fs';
import { Container } from '../dma/container';
import { closedError, isErrno, systemError, VfioError } from '../errors';
import { hints } from '../hints';
import { VFIO_GROUP_FLAGS_VIABLE } from '../ioctl/constants';
import { groupGetDeviceFd, groupGetStatus } from '../ioctl/group';
import { native } from '../native';
import { findHolders } from '../pci/holders';
import { blockingMembers } from '../pci/iommu-group';

/** The groups this thread has open: the kernel opens each only once. */
const openGroups = new Map<number, Group>();

export class Group {
  readonly id: number;
  readonly container: Container;
  readonly #fd: number;
  readonly #ownsContainer: boolean;
  /** Devices open, or being opened. */
  #users = 0;
  readonly #attached: Promise<void>;
  #closing: Promise<void> | undefined;

  private constructor(id: number, fd: number, container: Container, ownsContainer: boolean) {
    this.id = id;
    this.container = container;
    this.#fd = fd;
    this.#ownsContainer = ownsContainer;
    this.#attached = container.attachGroup(fd);
  }

  /**
   * The group `id` in `container`, or in one of its own; opened, or shared with devices of this
   * thread that opened it before. Each call is paid back by one `release`.
   * @throws EBUSY (held by another process), EACCES, ERR_VFIO_GROUP_NOT_VIABLE,
   * ERR_VFIO_GROUP_IN_OTHER_CONTAINER
   */
  static async acquire(id: number, container?: Container): Promise<Group> {
    // One that is closing is busy for the kernel until it is gone.
    let group = openGroups.get(id);
    for (; group?.closing; group = openGroups.get(id)) await group.closing;
    group ??= Group.#open(id, container);
    if (container !== undefined && group.container !== container) {
      throw new VfioError(
        'ERR_VFIO_GROUP_IN_OTHER_CONTAINER',
        `IOMMU group ${id} is in another container already`,
        {
          path: groupPath(id),
          hint: 'devices of one group share one container: leave the option out, or close the other device',
        },
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

  /** Pending from the last `release` until the kernel has the group back. */
  get closing(): Promise<void> | undefined {
    return this.#closing;
  }

  /**
   * GET_DEVICE_FD. `argument`: the device's name, and `vf_token=UUID` behind a space.
   * @throws EACCES, EINVAL, ENODEV: see `groupGetDeviceFd`
   */
  getDeviceFd(argument: string): Promise<number> {
    if (this.#closing) throw closedError(`IOMMU group ${this.id}`);
    return groupGetDeviceFd(this.#fd, argument);
  }

  /** One device less; the last closes the group, and its container if that came with it. */
  async release(): Promise<void> {
    this.#users -= 1;
    if (this.#users === 0) this.#closing = this.#close();
    await this.#closing;
  }

  async #close(): Promise<void> {
    await this.#attached.catch(() => {});
    try {
      this.container.detachGroup(this.#fd);
    } finally {
      native.close(this.#fd);
      openGroups.delete(this.id);
      // A container that closes its devices itself is waiting for this one.
      if (this.#ownsContainer && !this.container.closed) await this.container.close();
    }
  }

  static #open(id: number, given: Container | undefined): Group {
    const container = given ?? Container.open();
    try {
      const group = new Group(id, openViable(id), container, given === undefined);
      openGroups.set(id, group);
      return group;
    } catch (error) {
      if (given === undefined) void container.close();
      throw error;
    }
  }
}

function groupPath(id: number): string {
  return `/dev/vfio/${id}`;
}

function openViable(id: number): number {
  const path = groupPath(id);
  const fd = native.open(path, fsConstants.O_RDWR);
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
    : isErrno(error, 'EACCES')
      ? hints.groupPermission(path, id)
      : hints.modulesMissing();
  return systemError(result, `open ${path}`, { syscall: 'open', path, hint });
}
