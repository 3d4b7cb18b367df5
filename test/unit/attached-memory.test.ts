/** Memory of another thread: its pieces, and whose it is. */
import { type AttachedMemory, attachMemory } from '../../src/dma/attached-memory';
import type { FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';

jest.mock('../../src/native', () => require('./fake-native'));

const PAGE = 4096;
const MiB = 1 << 20;
const RANGE = 7;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

let kernel: FakeKernel;
/** How many this thread has. */
let attached: number;
let memory: AttachedMemory;

const attach = () => attachMemory({ iova: 0x1000n, size: MiB, range: RANGE });

beforeEach(() => {
  kernel = bootFakeKernel();
  attached = 0;
  Object.assign(kernel.native, {
    rangeLength: () => (attached > 0 ? MiB : -9),
    rangeAttach: () => ++attached && 0,
    rangeBuffer: () => new ArrayBuffer(MiB),
    rangeRelease: () => {
      attached = 0;
      return 0;
    },
  });
  memory = attach();
});

test.each([1, 64, PAGE, 16 * PAGE])(
  'pieces are at IOVAs that are multiples of %i',
  async (alignment) => {
    const pieces = [];
    for (const size of [100, PAGE, 3 * PAGE]) pieces.push(await memory.alloc(size, { alignment }));
    const pool = await memory.pool({
      size: 2 * PAGE,
      count: 4,
      alignment: Math.max(alignment, 64),
    });
    let end = 0n;
    for (const { iova, u8 } of [...pieces, ...pool.buffers]) {
      expect(iova % BigInt(alignment)).toBe(0n);
      expect(iova).toBeGreaterThanOrEqual(end);
      expect(u8.byteOffset).toBe(Number(iova - memory.iova));
      end = iova + BigInt(u8.length);
    }
  },
);

test('what is no size or alignment takes nothing away from later pieces', async () => {
  for (const size of [0, -1, 1.5, Number.NaN, '64' as unknown as number]) {
    await expect(memory.alloc(size)).rejects.toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
  }
  for (const alignment of [0, 3, -4, 1.5, Number.NaN, '64' as unknown as number]) {
    await expect(memory.alloc(64, { alignment })).rejects.toThrow(
      code('ERR_VFIO_INVALID_ARGUMENT'),
    );
  }
  await expect(memory.alloc(MiB + 1)).rejects.toThrow(code('ERR_VFIO_IOVA_SPACE'));
  await expect(memory.alloc(64, { alignment: 2 ** 40 })).rejects.toThrow(
    code('ERR_VFIO_IOVA_SPACE'),
  );
  expect((await memory.alloc(64)).iova).toBe(0x1000n);
});

test('the second close of one takes nothing from the next', async () => {
  memory.close();
  const next = attach();
  memory.close();
  memory[Symbol.dispose]();
  expect(attached).toBe(1);
  await expect(memory.alloc(64)).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  expect((await next.alloc(64)).iova).toBe(0x1000n);
});
