import { constants } from 'node:os';
import { DmaLogging } from '../../src/device/dma-logging';
import * as c from '../../src/ioctl/abi/constants';
import * as s from '../../src/ioctl/abi/structs';
import * as cdev from '../../src/ioctl/cdev';
import * as features from '../../src/ioctl/device-features';
import { adopted, answer, FD, memoryAt, rangesLent } from './fake-requests';

jest.mock('../../src/native', () => require('./fake-requests'));

const HEADER = s.vfio_device_feature.size;
const { EACCES, EINVAL } = constants.errno;

afterEach(() => {
  expect(rangesLent()).toBe(0);
});

describe('binding to an iommufd', () => {
  const token = Uint8Array.from({ length: 16 }, (_, i) => i);

  beforeEach(() => {
    answer('VFIO_DEVICE_BIND_IOMMUFD', (bytes) => {
      const arg = s.vfio_device_bind_iommufd.view(bytes);
      if (arg.iommufd !== 9) return -77;
      const shown =
        arg.flags & c.VFIO_DEVICE_BIND_FLAG_TOKEN ? memoryAt(arg.token_uuid_ptr) : token;
      if (!token.every((byte, i) => shown[i] === byte)) return -EACCES;
      arg.out_devid = arg.flags ? 5 : 4;
      return 0;
    });
  });

  test('gives the id of the device, with and without a VF token', async () => {
    expect(await cdev.deviceBindIommufd(FD, 9)).toBe(4);
    expect(await cdev.deviceBindIommufd(FD, 9, token)).toBe(5);
  });

  test('is refused for another token, one that is none, and what is no iommufd', async () => {
    const bind = (iommufd: number, uuid?: Uint8Array) => cdev.deviceBindIommufd(FD, iommufd, uuid);
    await expect(
      bind(
        9,
        token.map((b) => b ^ 1),
      ),
    ).rejects.toMatchObject({ code: 'EACCES' });
    await expect(bind(9, token.subarray(1))).rejects.toMatchObject({
      code: 'ERR_VFIO_INVALID_UUID',
      hint: expect.any(String),
    });
    await expect(bind(8)).rejects.toMatchObject({ code: 'EBADFD', errno: 77 });
  });
});

test('a device and its PASIDs are attached and detached', async () => {
  const calls: unknown[] = [];
  answer('VFIO_DEVICE_ATTACH_IOMMUFD_PT', (bytes) => {
    const arg = s.vfio_device_attach_iommufd_pt.view(bytes);
    calls.push([arg.flags, arg.pt_id, arg.pasid]);
    arg.pt_id = 11;
    return 0;
  });
  answer('VFIO_DEVICE_DETACH_IOMMUFD_PT', (bytes) => {
    const arg = s.vfio_device_detach_iommufd_pt.view(bytes);
    calls.push([arg.flags, arg.pasid]);
    return 0;
  });
  expect(await cdev.deviceAttachIommufdPt(FD, 7)).toBe(11);
  await cdev.deviceAttachIommufdPt(FD, 7, 0);
  await cdev.deviceDetachIommufdPt(FD);
  await cdev.deviceDetachIommufdPt(FD, 3);
  expect(calls).toEqual([
    [0, 7, 0],
    [c.VFIO_DEVICE_ATTACH_PASID, 7, 0],
    [0, 0],
    [c.VFIO_DEVICE_DETACH_PASID, 3],
  ]);
});

test('a device logs its writes: start, report, stop', async () => {
  let logging = false;
  answer('VFIO_DEVICE_FEATURE', (bytes) => {
    const data = bytes.subarray(HEADER);
    switch (s.vfio_device_feature.view(bytes).flags) {
      case c.VFIO_DEVICE_FEATURE_SET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_START: {
        const arg = s.vfio_device_feature_dma_logging_control.view(data);
        const second = memoryAt(arg.ranges).subarray(16);
        expect([arg.page_size, arg.num_ranges]).toEqual([4096n, 2]);
        expect(s.vfio_device_feature_dma_logging_range.view(second)).toMatchObject({
          iova: 0x10_0000n,
          length: 0x2000n,
        });
        arg.page_size = 8192n;
        logging = true;
        return 0;
      }
      case c.VFIO_DEVICE_FEATURE_GET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: {
        if (!logging) return -EINVAL;
        const arg = s.vfio_device_feature_dma_logging_report.view(data);
        expect(arg).toMatchObject({ iova: 0x10_0000n, length: 0x2000n, page_size: 4096n });
        memoryAt(arg.bitmap)[0] = 0b10;
        return 0;
      }
      case c.VFIO_DEVICE_FEATURE_SET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
        logging = false;
        return bytes.length === HEADER ? 0 : -EINVAL;
      default:
        return -EINVAL;
    }
  });
  const log = new DmaLogging('0000:01:00.0', (request) => request(FD));
  const range = { iova: 0x10_0000n, size: 0x2000 };
  expect(await log.start([{ iova: 0n, size: 0x1000 }, range], 4096)).toBe(8192);
  const dirty = await log.read(range, 4096);
  expect([...dirty.ranges()]).toEqual([{ iova: 0x10_1000n, size: 4096n }]);
  await log.stop();
  await expect(log.read(range, 4096)).rejects.toMatchObject({
    code: 'EINVAL',
    ioctl: 'VFIO_DEVICE_FEATURE',
  });
});

test('a BAR becomes a dma-buf, whose descriptor is taken over', () => {
  let asked: unknown;
  answer('VFIO_DEVICE_FEATURE', (bytes) => {
    const data = bytes.subarray(HEADER);
    const arg = s.vfio_device_feature_dma_buf.view(data);
    const second = s.vfio_region_dma_range.view(data.subarray(16 + 16));
    asked = {
      header: s.vfio_device_feature.view(bytes).flags,
      region: arg.region_index,
      openFlags: arg.open_flags,
      ranges: arg.nr_ranges,
      second: [second.offset, second.length],
    };
    return 34;
  });
  const ranges = [
    { offset: 0n, length: 0x1000n },
    { offset: 0x2000n, length: 0x1000n },
  ];
  expect(features.deviceFeatureDmaBuf(FD, 2, ranges)).toBe(34);
  expect(adopted).toContain(34);
  expect(asked).toEqual({
    header: c.VFIO_DEVICE_FEATURE_GET | c.VFIO_DEVICE_FEATURE_DMA_BUF,
    region: 2,
    openFlags: 0o2000002,
    ranges: 2,
    second: [0x2000n, 0x1000n],
  });
});
