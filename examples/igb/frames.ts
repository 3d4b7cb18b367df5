/**
 * Test frames: 64 bytes, EtherType 0x88b5, that show loss, damage, repetition and reordering.
 *
 *   byte  0  destination, source, EtherType (14 bytes), then 2 bytes of zeros
 *        16  magic number
 *        20  stream: a random number for each run of a sender
 *        24  sequence number, from 0
 *        28  a pattern that depends on stream and sequence number
 *        60  checksum of the 60 bytes before it
 *
 * Numbers are little-endian words, so that a frame in a word-aligned buffer is written and checked
 * word by word, without allocation. A second kind, EtherType 0x88b6, is for flow control: a PROBE
 * asks whether anyone listens, a CREDIT tells a sender up to which number its frames have arrived.
 */
import { BROADCAST, type Mac, macFromWords, macHigh, macLow, sameMac } from './mac';

export const FRAME_BYTES = 64;
const FRAME_WORDS = FRAME_BYTES / 4;
const CHECKSUM_WORD = FRAME_WORDS - 1;

const TYPE_WORD = 3;
const MAGIC_WORD = 4;
const STREAM_WORD = 5;
const SEQUENCE_WORD = 6;
const PATTERN_WORD = 7;

/** The type word: EtherType in network order, then zeros. */
const TEST_TYPE = 0x0000_b588;
const FLOW_TYPE = 0x0000_b688;
const TYPE_MASK = 0x0000_ffff;
const MAGIC = 0x6f69_6676;
const PROBE = 0x626f_7270;
const CREDIT = 0x6469_7263;

/** FNV-1a over words instead of bytes. */
function checksum(words: Uint32Array, index: number): number {
  let hash = 0x811c_9dc5;
  for (let i = 0; i < CHECKSUM_WORD; i++) hash = Math.imul(hash ^ words[index + i]!, 0x0100_0193);
  return hash >>> 0;
}

/** Writes frames from `source` to `destination`. */
export class FrameWriter {
  private readonly word0: number;
  private readonly word1: number;
  private readonly word2: number;
  readonly isBroadcast: boolean;

  constructor(source: Mac, destination: Mac) {
    this.word0 = macLow(destination);
    this.word1 = (macHigh(destination) | (source[0]! << 16) | (source[1]! << 24)) >>> 0;
    this.word2 = (source[2]! | (source[3]! << 8) | (source[4]! << 16) | (source[5]! << 24)) >>> 0;
    this.isBroadcast = sameMac(destination, BROADCAST);
  }

  writeTest(words: Uint32Array, index: number, stream: number, sequence: number): void {
    this.write(words, index, TEST_TYPE, MAGIC, stream, sequence);
  }

  writeProbe(words: Uint32Array, index: number, stream: number): void {
    this.write(words, index, FLOW_TYPE, PROBE, stream, 0);
  }

  /** All of `stream` before `sequence` has arrived. */
  writeCredit(words: Uint32Array, index: number, stream: number, sequence: number): void {
    this.write(words, index, FLOW_TYPE, CREDIT, stream, sequence);
  }

  private write(
    words: Uint32Array,
    index: number,
    type: number,
    magic: number,
    stream: number,
    sequence: number,
  ): void {
    words[index] = this.word0;
    words[index + 1] = this.word1;
    words[index + 2] = this.word2;
    words[index + TYPE_WORD] = type;
    words[index + MAGIC_WORD] = magic;
    words[index + STREAM_WORD] = stream;
    words[index + SEQUENCE_WORD] = sequence;
    for (let i = PATTERN_WORD; i < CHECKSUM_WORD; i++) {
      words[index + i] = Math.imul(sequence + i, 0x9e37_79b1) ^ stream;
    }
    words[index + CHECKSUM_WORD] = checksum(words, index);
  }
}

/** The source address: its bytes 0 to 3 and 4 to 5, as `macLow` and `macHigh`. */
const sourceLow = (words: Uint32Array, index: number): number =>
  ((words[index + 1]! >>> 16) | (words[index + 2]! << 16)) >>> 0;
const sourceHigh = (words: Uint32Array, index: number): number => words[index + 2]! >>> 16;

export const sourceOf = (words: Uint32Array, index: number): Mac =>
  macFromWords(sourceLow(words, index), sourceHigh(words, index));

export const isFrom = (words: Uint32Array, index: number, mac: Mac): boolean =>
  sourceLow(words, index) === macLow(mac) && sourceHigh(words, index) === macHigh(mac);

/**
 * What a received frame is: a test frame, `good` (whole and in sequence) or `bad` (damaged, repeated
 * or late); flow control; or none of ours.
 */
export type FrameKind = 'good' | 'bad' | 'probe' | 'credit' | 'other';

export const streamOf = (words: Uint32Array, index: number): number => words[index + STREAM_WORD]!;
export const sequenceOf = (words: Uint32Array, index: number): number =>
  words[index + SEQUENCE_WORD]!;

/** A sender that frames came from. */
export interface Stream {
  readonly id: number;
  readonly source: Mac;
  /** The sequence number that comes next. */
  next: number;
  /** Sequence numbers that were skipped. */
  lost: number;
}

/** Tells what frames are and keeps track of the streams they belong to. */
export class FrameChecker {
  readonly streams: Stream[] = [];

  /** The kind of a frame; the first frame of a stream makes an entry, later ones allocate nothing. */
  check(words: Uint32Array, index: number, length: number): FrameKind {
    const type = words[index + TYPE_WORD]! & TYPE_MASK;
    const isFlow = type === FLOW_TYPE;
    if (!isFlow && type !== TEST_TYPE) return 'other';
    const intact =
      length === FRAME_BYTES && words[index + CHECKSUM_WORD] === checksum(words, index);
    if (isFlow) return intact ? flowKind(words[index + MAGIC_WORD]!) : 'other';
    return intact && this.inSequence(words, index) ? 'good' : 'bad';
  }

  find(id: number): Stream | undefined {
    for (let i = 0; i < this.streams.length; i++) {
      if (this.streams[i]!.id === id) return this.streams[i];
    }
    return undefined;
  }

  get lost(): number {
    return this.streams.reduce((sum, stream) => sum + stream.lost, 0);
  }

  private inSequence(words: Uint32Array, index: number): boolean {
    const sequence = sequenceOf(words, index);
    const stream = this.find(streamOf(words, index)) ?? this.begin(words, index);
    if (sequence < stream.next) return false;
    stream.lost += sequence - stream.next;
    stream.next = sequence + 1;
    return true;
  }

  private begin(words: Uint32Array, index: number): Stream {
    const source = sourceOf(words, index);
    const stream = { id: streamOf(words, index), source, next: 0, lost: 0 };
    this.streams.push(stream);
    return stream;
  }
}

function flowKind(magic: number): FrameKind {
  if (magic === PROBE) return 'probe';
  return magic === CREDIT ? 'credit' : 'other';
}
