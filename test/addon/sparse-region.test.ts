/** A region with sparse mmap areas, on a memfd in the device's place: no device of QEMU has such areas. */
import { readFileSync } from 'node:fs';
import { Region } from '../../src/device/region';
import * as abi from '../../src/ioctl/abi/constants';
import {
  vfio_info_cap_header,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_sparse_mmap_area,
} from '../../src/ioctl/abi/structs';
import type { RegionInfo } from '../../src/ioctl/device';
import { regionSparseAreas } from '../../src/ioctl/region-info';
import { native } from '../../src/native';

const PAGE = native.pageSize;
const SIZE = 4 * PAGE;
const OFFSET = 2 * PAGE;
const { READ, WRITE, MMAP } = {
  READ: abi.VFIO_REGION_INFO_FLAG_READ,
  WRITE: abi.VFIO_REGION_INFO_FLAG_WRITE,
  MMAP: abi.VFIO_REGION_INFO_FLAG_MMAP,
};

function regionInfo(areas: ReadonlyArray<readonly [number, number]>): RegionInfo {
  const cap = vfio_region_info_cap_sparse_mmap.create(areas.length * 16);
  cap.nr_areas = areas.length;
  vfio_info_cap_header.view(cap.bytes).id = abi.VFIO_REGION_INFO_CAP_SPARSE_MMAP;
  areas.forEach(([offset, size], i) => {
    const at = vfio_region_info_cap_sparse_mmap.size + i * vfio_region_sparse_mmap_area.size;
    const area = vfio_region_sparse_mmap_area.view(cap.bytes.subarray(at));
    area.offset = BigInt(offset);
    area.size = BigInt(size);
  });
  const capability = { id: abi.VFIO_REGION_INFO_CAP_SPARSE_MMAP, version: 1, bytes: cap.bytes };
  return {
    index: 9,
    flags: READ | WRITE | MMAP,
    size: SIZE,
    offset: OFFSET,
    capabilities: [capability],
  };
}

const mapsOf = (inode: number) =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.split(/\s+/)[4] === String(inode));

let fd: number;
let inode: number;

beforeEach(() => {
  fd = native.memfdCreate(OFFSET + SIZE, 0);
  inode = jest.requireActual<typeof import('node:fs')>('node:fs').fstatSync(fd).ino;
});

afterEach(() => {
  expect(mapsOf(inode)).toEqual([]);
  native.close(fd);
});

test('its areas are mapped, all of them; accesses go to memory there and to the kernel elsewhere', () => {
  const region = new Region(
    'test',
    fd,
    'region 9',
    regionInfo([
      [3 * PAGE, PAGE],
      [PAGE, PAGE],
      [0, 0],
    ]),
  );
  expect(region.mapped).toBe(true);
  expect(mapsOf(inode)).toHaveLength(2);
  for (const page of [0, 1, 2, 3]) {
    const at = page * PAGE;
    region.write32(at, 0x1111_1111 * (page + 1));
    region.write64(at + 8, 0x0123_4567_89ab_cdefn + BigInt(page));
    region.write16(at + PAGE - 2, page + 0x100);
    region.write8(at + PAGE - 3, page + 1);
    region.write64LoHi(at + 16, page, 7);
  }
  const bytes = Buffer.alloc(SIZE);
  expect(native.pread(fd, bytes, OFFSET)).toBe(SIZE);
  const pair = new Uint32Array(2);
  for (const page of [0, 1, 2, 3]) {
    const at = page * PAGE;
    expect(bytes.readUInt32LE(at)).toBe(0x1111_1111 * (page + 1));
    expect(region.read32(at)).toBe(0x1111_1111 * (page + 1));
    expect(region.read64(at + 8)).toBe(bytes.readBigUInt64LE(at + 8));
    expect(region.read16(at + PAGE - 2)).toBe(page + 0x100);
    expect(region.read8(at + PAGE - 3)).toBe(page + 1);
    region.read64LoHi(at + 16, pair);
    expect([...pair]).toEqual([page, 7]);
  }
  const words = new Uint32Array(4);
  region.readBatch32(new Uint32Array([0, PAGE, 2 * PAGE, 3 * PAGE]), words);
  expect([...words]).toEqual([0x1111_1111, 0x2222_2222, 0x3333_3333, 0x4444_4444]);
  expect(() => region.address).toThrow(expect.objectContaining({ code: 'ERR_VFIO_UNSUPPORTED' }));
  expect(() => region.read32(SIZE)).toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_OUT_OF_RANGE' }),
  );
  expect(() => region.read32(PAGE + 2)).toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_UNALIGNED' }),
  );
  region.restore();
  expect(region.read32(PAGE)).toBe(0x2222_2222);
  region.close();
  expect(() => region.read32(PAGE)).toThrow(expect.objectContaining({ code: 'ERR_VFIO_CLOSED' }));
});

test('pairs may cross from one part to the next, and a batch is checked before its first read', () => {
  const region = new Region('test', fd, 'region 9', regionInfo([[PAGE, PAGE]]));
  const pair = new Uint32Array(2);
  for (const end of [PAGE, 2 * PAGE]) {
    region.write64LoHi(end - 4, end, 7);
    region.read64LoHi(end - 4, pair);
    expect([...pair]).toEqual([end, 7]);
  }
  const code = (expected: string) => expect.objectContaining({ code: expected });
  expect(() => region.read64LoHi(SIZE - 4, pair)).toThrow(code('ERR_VFIO_OUT_OF_RANGE'));
  const out = new Uint32Array(2).fill(99);
  expect(() => region.readBatch32(new Uint32Array([0, SIZE]), out)).toThrow(
    code('ERR_VFIO_OUT_OF_RANGE'),
  );
  expect(() => region.readBatch32(new Uint32Array(3), out)).toThrow(
    code('ERR_VFIO_INVALID_ARGUMENT'),
  );
  expect([...out]).toEqual([99, 99]);
  region.close();
});

test('one area that is all of the region, or none at all', () => {
  const whole = new Region('test', fd, 'region 9', regionInfo([[0, SIZE]]));
  expect(whole.address).toEqual(expect.any(BigInt));
  whole.close();
  const none = new Region('test', fd, 'region 9', regionInfo([]));
  expect(none.mapped).toBe(false);
  none.write32(0, 5);
  expect(none.read32(0)).toBe(5);
  none.close();
});

test.each([
  ['outside', [[3 * PAGE, 2 * PAGE]]],
  [
    'overlapping',
    [
      [0, 2 * PAGE],
      [PAGE, PAGE],
    ],
  ],
] as const)('areas that are %s are malformed, and nothing is left of the attempt', (_, areas) => {
  expect(() => regionSparseAreas(regionInfo(areas))).toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_MALFORMED' }),
  );
  expect(() => new Region('test', fd, 'region 9', regionInfo(areas))).toThrow();
});

test('an area that is on no page is refused, and the one before it unmapped', () => {
  const info = regionInfo([
    [0, PAGE],
    [PAGE + 8, PAGE],
  ]);
  expect(() => new Region('test', fd, 'region 9', info)).toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_UNSUPPORTED' }),
  );
});
