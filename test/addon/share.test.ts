/** What is shared with another thread: refused in the thread that has it, and gone once it is closed. */
import { attachRegion } from '../../src/device/attached-region';
import { Region } from '../../src/device/region';
import { attachMemory } from '../../src/dma/attached-memory';
import { DmaBuffer } from '../../src/dma/buffer';
import { LiveMapping, LiveMappings } from '../../src/dma/live-mappings';
import {
  VFIO_REGION_INFO_FLAG_MMAP,
  VFIO_REGION_INFO_FLAG_READ,
  VFIO_REGION_INFO_FLAG_WRITE,
} from '../../src/ioctl/abi/constants';
import { MEMORY_ANONYMOUS, native } from '../../src/native';
import { mappedRange, memoryFile, PAGE } from './support';

const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

function region(flags: number): Region {
  const info = { index: 0, size: PAGE, offset: 0, capabilities: [] };
  const access = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  return new Region('0000:01:00.0', memoryFile(PAGE), 'bar0', { ...info, flags: access | flags });
}

test('a region is shared by numbers, and not with its own thread', () => {
  const bar0 = region(VFIO_REGION_INFO_FLAG_MMAP);
  const shared = structuredClone(bar0.share());
  expect(shared).toMatchObject({ device: '0000:01:00.0', name: 'bar0', size: PAGE });
  expect(() => attachRegion(shared)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  bar0.write32(0, 7);
  expect(bar0.read32(0)).toBe(7);
  bar0.close();
  expect(() => attachRegion(shared)).toThrow(code('EBADF'));
  expect(() => bar0.share()).toThrow(code('ERR_VFIO_CLOSED'));
});

test('a region that is not mapped cannot be shared', () => {
  const bar0 = region(0);
  expect(() => bar0.share()).toThrow(code('ERR_VFIO_UNSUPPORTED'));
  bar0.close();
});

test('memory is shared by numbers, and not with its own thread', async () => {
  const range = mappedRange(2, MEMORY_ANONYMOUS);
  const at = { iova: 0x1_0000n, size: 2 * PAGE, pageSize: PAGE };
  const live = new LiveMapping(at, at.size, { access: 'read', map: async () => {}, range });
  const control = {
    mappings: new LiveMappings(),
    close: (live: LiveMapping) => {
      native.rangeRelease(range);
      live.closing = Promise.resolve();
      return live.closing;
    },
    suspend: () => {},
    resume: () => {},
  };
  const memory = native.rangeBuffer(range, 0, at.size) as ArrayBuffer;
  const buffer = new DmaBuffer(live, control, memory);
  const shared = structuredClone(buffer.share());
  expect(shared).toEqual({ iova: 0x1_0000n, size: 2 * PAGE, range });
  expect(() => attachMemory(shared)).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  await buffer.close();
  expect(() => attachMemory(shared)).toThrow(code('EBADF'));
  expect(native.rangeLength(range)).toBeLessThan(0);
});
