import { mapInChunks, type Progress, pieceSize } from '../../src/dma/chunks';

const CHUNK = 256 * 1024 * 1024;

/** What a mapping of `size` bytes in pages of `pageSize` makes of it. */
function mapAll(size: number, pageSize: number, progress: Progress, ...calls: [Call, Undo]) {
  return mapInChunks(size, pieceSize(size, pageSize, progress), progress, ...calls);
}

type Call = Parameters<typeof mapInChunks>[3];
type Undo = Parameters<typeof mapInChunks>[4];

function recorder(failAt = -1) {
  const mapped: Array<[number, number]> = [];
  const unmapped: number[] = [];
  return {
    mapped,
    unmapped,
    map: async (offset: number, length: number) => {
      if (mapped.length === failAt) throw new Error('no more');
      mapped.push([offset, length]);
    },
    unmap: async (length: number) => void unmapped.push(length),
  };
}

test('in one piece when nobody watches', async () => {
  const { mapped, map, unmap } = recorder();
  await mapAll(5 * CHUNK, 4096, {}, map, unmap);
  expect(mapped).toEqual([[0, 5 * CHUNK]]);
});

test('in pieces, each told, when somebody does; the last may be shorter', async () => {
  const { mapped, map, unmap } = recorder();
  const seen: number[] = [];
  const size = 2 * CHUNK + 4096;
  await mapAll(size, 4096, { onProgress: (done) => seen.push(done) }, map, unmap);
  expect(mapped).toEqual([
    [0, CHUNK],
    [CHUNK, CHUNK],
    [2 * CHUNK, 4096],
  ]);
  expect(seen).toEqual([CHUNK, 2 * CHUNK, size]);
});

test('pieces are whole pages, also of 1 GiB', async () => {
  const { mapped, map, unmap } = recorder();
  const signal = new AbortController().signal;
  await mapAll(8 * CHUNK, 4 * CHUNK, { signal }, map, unmap);
  expect(mapped.map(([, length]) => length)).toEqual([4 * CHUNK, 4 * CHUNK]);
});

test('an abort between pieces unmaps what was mapped', async () => {
  const { mapped, unmapped, map, unmap } = recorder();
  const controller = new AbortController();
  const onProgress = () => controller.abort(new Error('enough'));
  const mapping = mapAll(3 * CHUNK, 4096, { onProgress, signal: controller.signal }, map, unmap);
  await expect(mapping).rejects.toThrow('enough');
  expect(mapped).toHaveLength(1);
  expect(unmapped).toEqual([CHUNK]);
});

test('an abort before the first piece maps nothing', async () => {
  const { mapped, unmapped, map, unmap } = recorder();
  const signal = AbortSignal.abort(new Error('too late'));
  await expect(mapAll(CHUNK, 4096, { signal }, map, unmap)).rejects.toThrow('too late');
  expect([mapped, unmapped]).toEqual([[], []]);
});

test('a piece that fails takes the others back', async () => {
  const { unmapped, map, unmap } = recorder(2);
  const mapping = mapAll(4 * CHUNK, 4096, { onProgress: () => {} }, map, unmap);
  await expect(mapping).rejects.toThrow('no more');
  expect(unmapped).toEqual([2 * CHUNK]);
});

test.each([1, 2])(
  'a listener that throws after piece %i of 2 takes that one back, too',
  async (nth) => {
    const { mapped, unmapped, map, unmap } = recorder();
    const onProgress = () => {
      if (mapped.length === nth) throw new Error('listener');
    };
    const size = CHUNK + 4096;
    await expect(mapAll(size, 4096, { onProgress }, map, unmap)).rejects.toThrow('listener');
    expect(unmapped).toEqual([nth === 1 ? CHUNK : size]);
  },
);
