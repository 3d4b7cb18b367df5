import { decodeCapabilities } from '../../examples/nvme/registers';
import { decodeStatus, NvmeError } from '../../examples/nvme/status';

test.each([
  [0x0000, 'success (SCT 0, SC 0x00)'],
  [0x0080, 'LBA out of range (SCT 0, SC 0x80)'],
  [0x0107, 'command specific error (SCT 1, SC 0x07)'],
  [0x0281, 'unrecovered read error (SCT 2, SC 0x81)'],
  [0x0742, 'vendor specific error (SCT 7, SC 0x42)'],
  [0x0500, 'reserved error (SCT 5, SC 0x00)'],
])('status 0x%s', (status, text) => {
  expect(decodeStatus(status).text).toBe(text);
});

test('the bits above the code', () => {
  expect(decodeStatus(0x4000)).toMatchObject({ doNotRetry: true, more: false });
  expect(decodeStatus(0x2000)).toMatchObject({ doNotRetry: false, more: true });
  expect(new NvmeError('read of 8 blocks at 9', 0x4080).message).toBe(
    'read of 8 blocks at 9: LBA out of range (SCT 0, SC 0x80), do not retry',
  );
});

test('capabilities', () => {
  // MQES 2047, TO 15 (7.5 s), DSTRD 1, MPSMIN 0
  expect(decodeCapabilities(0x0f01_07ff, 0x0000_0021)).toEqual({
    maxEntries: 2048,
    readyTimeout: 7500,
    doorbellStride: 8,
    minPage: 4096,
  });
});
