import { readDirtyBitmap } from '../../src/ioctl/dirty-bitmap';
import { withKernelBuffer, withKernelBufferAsync } from '../../src/ioctl/kernel-buffer';
import { memoryAt, rangesLent } from './fake-requests';

jest.mock('../../src/native', () => require('./fake-requests'));

afterEach(() => {
  expect(rangesLent()).toBe(0);
});

test('a buffer has the size asked for, an address, and is gone afterwards', () => {
  const bytes = withKernelBuffer(5000, (buffer) => {
    expect(buffer.bytes).toHaveLength(5000);
    buffer.bytes[4999] = 7;
    expect(memoryAt(buffer.address)[4999]).toBe(7);
    return buffer.bytes;
  });
  expect(bytes).toHaveLength(0);
  expect(withKernelBuffer(0, ({ bytes }) => bytes.length)).toBe(0);
});

test('it is gone after an error as well, and lasts as long as a promise', async () => {
  const fail = () => {
    throw new Error('refused');
  };
  expect(() => withKernelBuffer(1, fail)).toThrow('refused');
  await expect(withKernelBufferAsync(1, async () => fail())).rejects.toThrow('refused');
  const length = await withKernelBufferAsync(8, async ({ bytes }) => {
    await new Promise(setImmediate);
    return bytes.length;
  });
  expect(length).toBe(8);
});

test('more memory than there is, is an error that names the system call', () => {
  expect(() => withKernelBuffer(2 ** 40, () => {})).toThrow(
    expect.objectContaining({ code: 'ENOMEM', syscall: 'mmap' }),
  );
  expect(() => withKernelBuffer(Number.NaN, () => {})).toThrow(
    expect.objectContaining({ code: 'EINVAL' }),
  );
});

test.each([
  [1n, 4096, 8],
  [64n << 12n, 4096, 8],
  [(64n << 12n) + 1n, 4096, 16],
  [1n << 30n, 2 ** 21, 64],
])('a dirty bitmap of %d bytes in pages of %d has %d bytes', async (length, pageSize, size) => {
  const bitmap = await readDirtyBitmap(length, pageSize, async ({ bytes }) => {
    bytes[size - 1] = 0x80;
  });
  expect(bitmap).toHaveLength(size);
  expect(bitmap[size - 1]).toBe(0x80);
});

test.each([
  [4096n, 0],
  [4096n, 0x3000],
  [4096n, 4096.5],
  [4096n, 2 ** 53 - 1],
  [0n, 4096],
  [-4096n, 4096],
  [1n << 64n, 4096],
])('%d bytes in pages of %d never get to the kernel', async (length, pageSize) => {
  const fill = jest.fn();
  await expect(readDirtyBitmap(length, pageSize, fill)).rejects.toMatchObject({
    code: 'ERR_VFIO_INVALID_ARGUMENT',
    hint: expect.stringContaining('power of two'),
  });
  expect(fill).not.toHaveBeenCalled();
});
