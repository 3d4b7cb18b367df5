/** Requests on a group (/dev/vfio/N). */
import { check } from '../errors';
import { native } from '../native';
import { requests } from './abi/requests';
import { vfio_group_status } from './abi/structs';
import { callInt, callStruct, callValueAsync } from './call';

/** VFIO_GROUP_FLAGS_*. */
export function groupGetStatus(fd: number): number {
  const arg = vfio_group_status.create();
  callStruct(fd, 'VFIO_GROUP_GET_STATUS', arg);
  return arg.flags;
}

/** @throws EPERM if the group is not viable, EINVAL if it has a container. */
export function groupSetContainer(fd: number, containerFd: number): void {
  callInt(fd, 'VFIO_GROUP_SET_CONTAINER', containerFd);
}

/** With the last group, the kernel unmaps everything: on the thread pool. @throws EBUSY while a device of the group is open. */
export async function groupUnsetContainer(fd: number): Promise<void> {
  await callValueAsync(fd, 'VFIO_GROUP_UNSET_CONTAINER');
}

/**
 * `argument` is the device's name and options behind spaces: `0000:01:10.0 vf_token=UUID`.
 * Resolves to a descriptor. Can take long (the kernel resets the device): on the thread pool.
 * @throws EACCES for a missing or wrong VF token, EINVAL for an unknown option or a token that the
 * device does not take, ENODEV for a name that is not in the group.
 */
export async function groupGetDeviceFd(fd: number, argument: string): Promise<number> {
  const ioctl = 'VFIO_GROUP_GET_DEVICE_FD';
  const result = await native.ioctlStringFdAsync(fd, requests[ioctl], argument);
  return check(result, `${ioctl} "${argument.replace(/vf_token=\S+/, 'vf_token=...')}"`, {
    syscall: 'ioctl',
    ioctl,
  });
}
