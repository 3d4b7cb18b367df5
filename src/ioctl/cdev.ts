/** Requests on a device's own character device (/dev/vfio/devices/vfioN) that tie it to an iommufd. */
import { VfioError } from '../errors';
import { hints } from '../hints';
import * as c from './abi/constants';
import * as s from './abi/structs';
import { callStructAsync } from './call';
import { type KernelBuffer, withKernelBufferAsync } from './kernel-buffer';

const UUID_SIZE = 16;

/**
 * Open the device for DMA by way of an iommufd; any other request is EINVAL before. Resolves to the
 * device's id in the iommufd. Can take long (the kernel resets the device): on the thread pool.
 * @param vfToken 16 bytes, most significant first. Kernels before 6.19 do not take one: EINVAL
 * @throws EACCES for a missing or wrong VF token, EBUSY while its group is open, EINVAL if it is bound
 * already, EBADFD if `iommufd` is none
 */
export async function deviceBindIommufd(
  fd: number,
  iommufd: number,
  vfToken?: Uint8Array,
): Promise<number> {
  if (vfToken === undefined) return bind(fd, iommufd);
  if (vfToken.length !== UUID_SIZE) {
    throw new VfioError('ERR_VFIO_INVALID_UUID', `a VF token has ${UUID_SIZE} bytes`, {
      hint: hints.badUuid(),
    });
  }
  return withKernelBufferAsync(UUID_SIZE, (buffer) => {
    buffer.bytes.set(vfToken);
    return bind(fd, iommufd, buffer);
  });
}

async function bind(fd: number, iommufd: number, token?: KernelBuffer): Promise<number> {
  const arg = s.vfio_device_bind_iommufd.create();
  arg.iommufd = iommufd;
  if (token) {
    arg.flags = c.VFIO_DEVICE_BIND_FLAG_TOKEN;
    arg.token_uuid_ptr = token.address;
  }
  await callStructAsync(fd, 'VFIO_DEVICE_BIND_IOMMUFD', arg);
  return arg.out_devid;
}

/**
 * Let the device, or one of its PASIDs, reach an address space: an IOAS or a HWPT. One that is attached
 * already is replaced without a gap. Resolves to the id of the HWPT used; for an IOAS that the kernel
 * has no HWPT for, it makes one and maps all of the IOAS: on the thread pool.
 * @throws ENOENT if there is no such id, EBUSY while the device is being reset, EADDRINUSE if the IOAS
 * has mappings or allowed IOVAs that the device cannot reach
 */
export async function deviceAttachIommufdPt(
  fd: number,
  ptId: number,
  pasid?: number,
): Promise<number> {
  const arg = s.vfio_device_attach_iommufd_pt.create();
  arg.pt_id = ptId;
  if (pasid !== undefined) {
    arg.flags = c.VFIO_DEVICE_ATTACH_PASID;
    arg.pasid = pasid;
  }
  await callStructAsync(fd, 'VFIO_DEVICE_ATTACH_IOMMUFD_PT', arg);
  return arg.pt_id;
}

/** All DMA of the device, or of one of its PASIDs, is blocked from now on. On the thread pool. */
export async function deviceDetachIommufdPt(fd: number, pasid?: number): Promise<void> {
  const arg = s.vfio_device_detach_iommufd_pt.create();
  if (pasid !== undefined) {
    arg.flags = c.VFIO_DEVICE_DETACH_PASID;
    arg.pasid = pasid;
  }
  await callStructAsync(fd, 'VFIO_DEVICE_DETACH_IOMMUFD_PT', arg);
}
