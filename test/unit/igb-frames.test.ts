import {
  FRAME_BYTES,
  FrameChecker,
  FrameWriter,
  sequenceOf,
  sourceOf,
} from '../../examples/igb/frames';
import { BROADCAST, formatMac, parseMac } from '../../examples/igb/mac';

const SOURCE = parseMac('02:80:52:12:34:56')!;
const DESTINATION = parseMac('52:54:00:ab:cd:ef')!;
const AT = 32;

function frame(sequence: number, stream = 7): Uint32Array {
  const words = new Uint32Array(64);
  new FrameWriter(SOURCE, DESTINATION).writeTest(words, AT, stream, sequence);
  return words;
}

function bytesOf(words: Uint32Array): Buffer {
  return Buffer.from(words.buffer, AT * 4, FRAME_BYTES);
}

test('a frame is an Ethernet frame: destination, source, EtherType 0x88b5', () => {
  const bytes = bytesOf(frame(0));
  expect(formatMac(bytes.subarray(0, 6))).toBe('52:54:00:ab:cd:ef');
  expect(formatMac(bytes.subarray(6, 12))).toBe('02:80:52:12:34:56');
  expect(bytes.readUInt16BE(12)).toBe(0x88b5);
  expect(formatMac(sourceOf(frame(0), AT))).toBe('02:80:52:12:34:56');
});

test('frames in sequence are good, and a gap counts as loss', () => {
  const checker = new FrameChecker();
  const kinds = [0, 1, 2, 5].map((n) => checker.check(frame(n), AT, FRAME_BYTES));
  expect(kinds).toEqual(['good', 'good', 'good', 'good']);
  expect(checker.lost).toBe(2);
});

test('a repeated frame and a late one are bad', () => {
  const checker = new FrameChecker();
  const kinds = [0, 2, 2, 1].map((n) => checker.check(frame(n), AT, FRAME_BYTES));
  expect(kinds).toEqual(['good', 'good', 'bad', 'bad']);
});

test('streams are told apart: a new run starts from 0', () => {
  const checker = new FrameChecker();
  expect(checker.check(frame(9, 1), AT, FRAME_BYTES)).toBe('good');
  expect(checker.check(frame(0, 2), AT, FRAME_BYTES)).toBe('good');
  expect(checker.streams.map(({ next }) => next)).toEqual([10, 1]);
});

test('every flipped bit is found', () => {
  const checker = new FrameChecker();
  for (let bit = 0; bit < FRAME_BYTES * 8; bit++) {
    const words = frame(bit);
    words[AT + (bit >> 5)]! ^= 1 << (bit & 31);
    expect([bit, checker.check(words, AT, FRAME_BYTES)]).not.toEqual([bit, 'good']);
  }
  expect(checker.streams).toEqual([]);
});

test('a frame of another length is bad, one of another EtherType none of ours', () => {
  const checker = new FrameChecker();
  expect(checker.check(frame(0), AT, 60)).toBe('bad');
  expect(checker.check(new Uint32Array(64), AT, FRAME_BYTES)).toBe('other');
});

test('flow control is neither good nor bad', () => {
  const checker = new FrameChecker();
  const words = new Uint32Array(64);
  const writer = new FrameWriter(SOURCE, BROADCAST);
  expect(writer.isBroadcast).toBe(true);
  writer.writeProbe(words, AT, 7);
  expect(checker.check(words, AT, FRAME_BYTES)).toBe('probe');
  writer.writeCredit(words, AT, 7, 41);
  expect(checker.check(words, AT, FRAME_BYTES)).toBe('credit');
  expect(sequenceOf(words, AT)).toBe(41);
  words[AT + 6]! ^= 1;
  expect(checker.check(words, AT, FRAME_BYTES)).toBe('other');
});
