/** Requests on the display of a virtual GPU. */
import { check, isErrno } from '../errors';
import { native } from '../native';
import * as c from './abi/gfx-constants';
import { vfio_device_gfx_plane_info } from './abi/gfx-structs';
import { callInt, callStruct } from './call';

/** VFIO_GFX_PLANE_TYPE_DMABUF or VFIO_GFX_PLANE_TYPE_REGION. */
export type GfxPlaneType = number;

/** Whether the device shows its planes in that way. */
export function deviceProbeGfxPlane(fd: number, type: GfxPlaneType): boolean {
  const arg = vfio_device_gfx_plane_info.create();
  arg.flags = c.VFIO_GFX_PLANE_TYPE_PROBE | type;
  try {
    callStruct(fd, 'VFIO_DEVICE_QUERY_GFX_PLANE', arg);
    return true;
  } catch (error) {
    // EINVAL: in another way; ENOTTY: it has no display.
    if (isErrno(error, 'EINVAL') || isErrno(error, 'ENOTTY')) return false;
    throw error;
  }
}

export type GfxPlaneInfo = ReturnType<typeof vfio_device_gfx_plane_info.create>;

/**
 * What is shown on a plane now.
 * @param drmPlaneType DRM_PLANE_TYPE_*: 1 primary, 2 cursor
 * @throws EINVAL if the device does not show it in that way
 */
export function deviceQueryGfxPlane(
  fd: number,
  type: GfxPlaneType,
  drmPlaneType: number,
): GfxPlaneInfo {
  const arg = vfio_device_gfx_plane_info.create();
  arg.flags = type;
  arg.drm_plane_type = drmPlaneType;
  callStruct(fd, 'VFIO_DEVICE_QUERY_GFX_PLANE', arg);
  return arg;
}

/** The dma-buf of a plane, by the id of deviceQueryGfxPlane: a descriptor that the caller closes. @throws ENOENT */
export function deviceGetGfxDmabuf(fd: number, dmabufId: number): number {
  const dmabuf = callInt(fd, 'VFIO_DEVICE_GET_GFX_DMABUF', dmabufId);
  return check(native.giveFd(dmabuf), 'dma-buf', { syscall: 'fcntl' });
}
