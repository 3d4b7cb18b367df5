/**
 * Planes of virtual GPUs, and regions of their own: the kernel's samples mdpy and mbochs.
 *
 * @kernel lab
 */
import { readFileSync } from 'node:fs';
import { createMdev, type Device, mdevTypes, openDevice, removeMdev } from 'vfio';
import {
  VFIO_REGION_SUBTYPE_GFX_EDID,
  VFIO_REGION_TYPE_GFX,
} from '../../src/ioctl/abi/region-constants';
import { native } from '../../src/native';

/** drm_fourcc.h: XRGB8888. */
const XR24 = 0x34325258;
/** Registers of Bochs' display in mbochs' BAR 2 (VBE_DISPI_INDEX_*). */
const XRES = 0x502;
const YRES = 0x504;
const BPP = 0x506;
const ENABLE = 0x508;

const types = mdevTypes();
const typeOf = (parent: string) => types.find((type) => type.parent === parent);

describe('virtual GPUs', () => {
  let uuid: string;
  let device: Device;

  const open = async (parent: string) => {
    uuid = await createMdev(typeOf(parent)!);
    device = await openDevice(uuid);
    return device;
  };

  afterEach(async () => {
    await device.close();
    await removeMdev(uuid);
  });

  test('mdpy shows its plane in a region that can be mapped', async () => {
    const { gfx } = await open('mdpy');
    expect(gfx.way).toBe('region');
    const plane = gfx.plane()!;
    expect(plane).toMatchObject({ format: XR24, stride: plane.width * 4 });
    const { region: index } = plane.where as { region: number };
    // It is beyond those that the driver counts.
    expect(index).toBeGreaterThanOrEqual(device.info.numRegions);
    expect(device.regions().map((region) => region.index)).toContain(index);
    const region = device.region(index);
    expect([region.mapped, region.size >= plane.stride * plane.height]).toEqual([true, true]);
    region.write32(plane.size - 4, 0x00ff_8040);
    expect(region.read32(plane.size - 4)).toBe(0x00ff_8040);
  });

  test('mbochs shows nothing until it is set up, then a dma-buf of what is in its memory', async () => {
    const { gfx } = await open('mbochs');
    expect(gfx.way).toBe('dmabuf');
    expect(gfx.plane()).toBeUndefined();
    const mmio = device.region('bar2');
    for (const [register, value] of [
      [XRES, 64],
      [YRES, 64],
      [BPP, 32],
      [ENABLE, 1],
    ] as const) {
      mmio.write16(register, value);
    }
    const plane = gfx.plane()!;
    expect(plane).toMatchObject({ format: XR24, width: 64, height: 64, stride: 256, size: 16384 });
    expect(gfx.plane('cursor')).toBeUndefined();
    const fd = gfx.openDmaBuf((plane.where as { dmabuf: number }).dmabuf);
    // mbochs exports it for reading only, and refuses to map what is not shared: its size is what can be seen.
    expect(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')).toMatch(/^size:\s*16384$/m);
    native.close(fd);
    expect(() => gfx.openDmaBuf(9999)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });

  test('regions beyond the fixed ones tell what they are; offsets are those of the kernel', async () => {
    await open('mbochs');
    const edid = device.regions().find(({ type }) => type !== undefined)!;
    expect(edid).toMatchObject({
      index: 9,
      name: undefined,
      type: { type: VFIO_REGION_TYPE_GFX, subtype: VFIO_REGION_SUBTYPE_GFX_EDID },
    });
    const region = device.region(edid.index);
    const [offset, maxSize] = [region.read32(0), region.read32(4)];
    expect(offset).toBe(edid.size / 2);
    expect(offset + maxSize).toBeLessThanOrEqual(edid.size);
    expect(device.config.read16(0)).toBe(0x1234);
  });

  test('a serial port has no display', async () => {
    await open('mtty');
    expect(() => device.gfx).toThrow(expect.objectContaining({ code: 'ERR_VFIO_UNSUPPORTED' }));
  });
});
