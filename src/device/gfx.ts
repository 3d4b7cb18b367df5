/** The display of a virtual GPU (an mdev such as those of i915, or mbochs and mdpy of the kernel's samples). */
import { isErrno, VfioError } from '../errors';
import { VFIO_GFX_PLANE_TYPE_DMABUF, VFIO_GFX_PLANE_TYPE_REGION } from '../ioctl/abi/gfx-constants';
import * as ioctl from '../ioctl/gfx';

/** drm_mode.h: DRM_PLANE_TYPE_PRIMARY and DRM_PLANE_TYPE_CURSOR. */
const planes = { primary: 1, cursor: 2 } as const;
export type GfxPlaneName = keyof typeof planes;

/** How a device shows its planes: in memory of its own as a dma-buf, or in a region. */
const ways = { dmabuf: VFIO_GFX_PLANE_TYPE_DMABUF, region: VFIO_GFX_PLANE_TYPE_REGION } as const;
export type GfxWay = keyof typeof ways;

export interface GfxPlane {
  /** Fourcc code, drm_fourcc.h: 0x34325258 is XR24, 32 bits per pixel. */
  readonly format: number;
  readonly modifier: bigint;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** Bytes from a line to the next. */
  readonly stride: number;
  /** Bytes of the plane, in whole pages. */
  readonly size: number;
  /** Where a cursor is, and its hot spot in it. */
  readonly x: number;
  readonly y: number;
  readonly xHot: number;
  readonly yHot: number;
  /** The index of the region that it is in, or the id of its dma-buf for `openDmaBuf`. */
  readonly where: { readonly region: number } | { readonly dmabuf: number };
}

export class Gfx {
  readonly #fd: () => number;
  readonly #way: GfxWay;

  /** Made by the device. @throws ERR_VFIO_UNSUPPORTED if it has no display */
  constructor(device: string, fd: () => number) {
    const way = (Object.keys(ways) as GfxWay[]).find((name) =>
      ioctl.deviceProbeGfxPlane(fd(), ways[name]),
    );
    if (!way) {
      throw new VfioError('ERR_VFIO_UNSUPPORTED', `${device} has no display`, { device });
    }
    this.#fd = fd;
    this.#way = way;
  }

  get way(): GfxWay {
    return this.#way;
  }

  /** What is shown now; undefined while the guest has nothing set up. */
  plane(name: GfxPlaneName = 'primary'): GfxPlane | undefined {
    const info = this.#query(name);
    if (info.drm_format === 0) return undefined;
    return {
      format: info.drm_format,
      modifier: info.drm_format_mod,
      width: info.width,
      height: info.height,
      stride: info.stride,
      size: info.size,
      x: info.x_pos,
      y: info.y_pos,
      xHot: info.x_hot,
      yHot: info.y_hot,
      where: this.#way === 'region' ? { region: info.region_index } : { dmabuf: info.region_index },
    };
  }

  /** A descriptor of a plane's dma-buf, which the caller closes. @throws ENOENT if the plane has changed since */
  openDmaBuf(id: number): number {
    return ioctl.deviceGetGfxDmabuf(this.#fd(), id);
  }

  #query(name: GfxPlaneName): ioctl.GfxPlaneInfo {
    const query = () => ioctl.deviceQueryGfxPlane(this.#fd(), ways[this.#way], planes[name]);
    try {
      return query();
    } catch (error) {
      // mbochs makes a dma-buf for a new mode when it is asked first, and finds it the second time.
      if (!isErrno(error, 'ENOMEM')) throw error;
      return query();
    }
  }
}
