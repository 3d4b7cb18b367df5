/** VFIO_DEVICE_GET_INFO and its chain, byte by byte. */
import { deviceGetInfo } from '../../src/ioctl/device';
import { answer, FD } from './fake-requests';

jest.mock('../../src/native', () => require('./fake-requests'));

const FLAGS_CAPS = 1 << 7;
const CHAIN = 32;

/** The kernel with this as the capability: id and version, next, flags, reserved. */
function capability(id: number, ...words: number[]): void {
  const chain = Buffer.alloc(4 + 4 * words.length);
  chain.writeUInt16LE(id, 0);
  chain.writeUInt16LE(1, 2);
  words.forEach((word, i) => {
    chain.writeUInt32LE(word, 4 + 4 * i);
  });
  answer('VFIO_DEVICE_GET_INFO', (bytes) => {
    const info = new DataView(bytes.buffer, bytes.byteOffset);
    const room = bytes.length;
    info.setUint32(0, CHAIN + chain.length, true);
    info.setUint32(4, FLAGS_CAPS | 2, true);
    info.setUint32(8, 9, true);
    info.setUint32(12, 5, true);
    if (room < CHAIN + chain.length) return 0;
    info.setUint32(16, CHAIN, true);
    bytes.set(chain, CHAIN);
    return 0;
  });
}

test.each([
  [0, []],
  [0b1, [32]],
  [0b110, [64, 128]],
  [0b1111, [32, 64, 128]],
])('flags %d of PCI_ATOMIC_COMP are the widths %j', (flags, widths) => {
  capability(5, 0, flags, 0);
  expect(deviceGetInfo(FD)).toMatchObject({ numRegions: 9, numIrqs: 5, atomicOps: widths });
});

test('a chain without it, and none at all', () => {
  capability(1, 0, 7, 0);
  expect(deviceGetInfo(FD)).toMatchObject({ atomicOps: [], capabilities: [{ id: 1 }] });
  answer('VFIO_DEVICE_GET_INFO', () => 0);
  expect(deviceGetInfo(FD)).toMatchObject({ atomicOps: [], capabilities: [] });
});

test('one that is cut off is malformed', () => {
  capability(5, 0);
  expect(() => deviceGetInfo(FD)).toThrow(expect.objectContaining({ code: 'ERR_VFIO_MALFORMED' }));
});
