import { constants } from 'node:fs';
import { withKernelBuffer } from '../../src/ioctl/kernel-buffer';
import { native } from '../../src/native';

test('the kernel finds a buffer at its address, both ways, and not afterwards', () => {
  const memory = native.open('/proc/self/mem', constants.O_RDWR);
  const seen = new Uint8Array(3);
  const address = withKernelBuffer(10_000, (buffer) => {
    const last = Number(buffer.address) + 9_997;
    buffer.bytes.set([1, 2, 3], 9_997);
    expect(native.pread(memory, seen, last)).toBe(3);
    expect([...seen]).toEqual([1, 2, 3]);
    expect(native.pwrite(memory, Uint8Array.of(4, 5, 6), last)).toBe(3);
    expect([...buffer.bytes.subarray(9_997)]).toEqual([4, 5, 6]);
    return last;
  });
  // The addresses may be reserved still, for the views' sake, but hold nothing of it.
  native.pread(memory, seen.fill(0), address);
  expect([...seen]).not.toEqual([4, 5, 6]);
  native.close(memory);
});
