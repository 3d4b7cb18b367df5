import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PcapngWriter } from '../../examples/igb/pcapng';
import { readCapture } from './pcapng-blocks';

const directory = mkdtempSync(join(tmpdir(), 'pcapng-'));
const path = join(directory, 'frames.pcapng');
afterAll(() => rmSync(directory, { recursive: true }));

const frame = (length: number, first = 0) => Uint8Array.from({ length }, (_, i) => first + i);

test('frames of all lengths modulo 4, with interface, times and counts', () => {
  const before = Date.now() * 1000;
  const writer = new PcapngWriter(path, 'igb 0000:01:00.0', 262_144);
  const frames = [60, 61, 62, 63, 1518].map((length, i) => frame(length, i));
  // What is behind the frame in its buffer is not in the file.
  for (const each of frames) writer.write(Uint8Array.of(...each, 99, 99), each.length, 0);
  writer.close({ received: 5, dropped: 2 ** 33 });
  const { packets, ...rest } = readCapture(readFileSync(path));
  expect(rest).toEqual({
    linkType: 1,
    snapLength: 262_144,
    interfaceName: 'igb 0000:01:00.0',
    received: 5n,
    dropped: 2n ** 33n,
  });
  expect(packets.map(({ bytes }) => [...bytes])).toEqual(frames.map((each) => [...each]));
  for (const { microseconds, original, bytes } of packets) {
    expect(original).toBe(bytes.length);
    expect(microseconds).toBeGreaterThan(before - 1_000_000);
    expect(microseconds).toBeLessThan(before + 60_000_000);
  }
});

test('a stripped VLAN tag is put back where it was', () => {
  const writer = new PcapngWriter(path, 'igb', 262_144);
  writer.write(frame(60), 60, 0xa064);
  writer.close({ received: 1, dropped: 0 });
  const [packet] = readCapture(readFileSync(path)).packets;
  const original = [...frame(12), 0x81, 0x00, 0xa0, 0x64, ...frame(48, 12)];
  expect([...packet!.bytes]).toEqual(original);
  expect(packet!.original).toBe(64);
});

test('a frame is cut to the snap length, tagged or not', () => {
  const writer = new PcapngWriter(path, 'igb', 50);
  writer.write(frame(60), 60, 0);
  writer.write(frame(49), 49, 5);
  writer.write(frame(20), 20, 0);
  writer.close({ received: 3, dropped: 0 });
  const { packets, snapLength } = readCapture(readFileSync(path));
  expect(snapLength).toBe(50);
  expect(packets.map(({ bytes, original }) => [bytes.length, original])).toEqual([
    [50, 60],
    [50, 53],
    [20, 20],
  ]);
});

test('more than fits into memory at once', () => {
  const writer = new PcapngWriter(path, 'igb', 262_144);
  for (let i = 0; i < 300; i++) writer.write(frame(9018, i), 9018, 0);
  writer.close({ received: 300, dropped: 0 });
  const { packets } = readCapture(readFileSync(path));
  expect(packets).toHaveLength(300);
  expect(packets.every(({ bytes }, i) => bytes[0] === (i & 0xff) && bytes.length === 9018)).toBe(
    true,
  );
});

test('a file that cannot be written is said so', () => {
  expect(() => new PcapngWriter(join(directory, 'none', 'x'), 'igb', 100)).toThrow(/ENOENT/);
});
