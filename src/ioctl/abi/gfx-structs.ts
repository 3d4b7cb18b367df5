/** Structs of linux/vfio.h about the display of a virtual GPU, field by field under their C names. */
import { struct } from './layout';

/** `drm_plane_type` is input, what follows output. `region_index` or `dmabuf_id`: by the type in `flags`. */
export const vfio_device_gfx_plane_info = struct('vfio_device_gfx_plane_info', {
  argsz: 'u32',
  flags: 'u32',
  drm_plane_type: 'u32',
  drm_format: 'u32',
  drm_format_mod: 'u64',
  width: 'u32',
  height: 'u32',
  stride: 'u32',
  size: 'u32',
  x_pos: 'u32',
  y_pos: 'u32',
  x_hot: 'u32',
  y_hot: 'u32',
  region_index: 'u32',
  dmabuf_id: { aliasOf: 'region_index' },
  reserved: 'u32',
});

/** Head of a region of VFIO_REGION_TYPE_GFX, VFIO_REGION_SUBTYPE_GFX_EDID. */
export const vfio_region_gfx_edid = struct('vfio_region_gfx_edid', {
  edid_offset: 'u32',
  edid_max_size: 'u32',
  edid_size: 'u32',
  max_xres: 'u32',
  max_yres: 'u32',
  link_state: 'u32',
});
