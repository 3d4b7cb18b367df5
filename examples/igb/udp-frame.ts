/**
 * UDP frames from a template (RFC 768, 791): `10.1.x.y` port 9 to `10.2.0.1` port 9 (discard), where
 * x.y is the flow. Bytes 44 to 47 are the frame's number, in network order; the rest of the payload is
 * zeros. Written word by word, without an allocation.
 */
import type { Mac } from './mac';

const IP = 14;
const UDP = 34;
/** Bytes 24 to 27: header checksum, upper half of the source address; 28 to 31: its lower half. */
const CHECKSUM_WORD = 6;
const SOURCE_WORD = 7;
const SEQUENCE_WORD = 11;

export const MIN_UDP_FRAME = 60;

export class UdpTemplate {
  private readonly words: Uint32Array;
  /** Of the header's 16-bit words, without the flow. */
  private readonly sum: number;

  /** @param bytes of the frame, without FCS, at least 60 */
  constructor(
    source: Mac,
    destination: Mac,
    readonly bytes: number,
  ) {
    const frame = new DataView(new ArrayBuffer(Math.ceil(bytes / 4) * 4));
    const octets = new Uint8Array(frame.buffer);
    octets.set(destination, 0);
    octets.set(source, 6);
    frame.setUint16(12, 0x0800);
    frame.setUint16(IP, 0x4500); // version 4, five words
    frame.setUint16(IP + 2, bytes - IP);
    frame.setUint16(IP + 8, 0x4011); // 64 hops, UDP
    octets.set([10, 1], IP + 12);
    octets.set([10, 2, 0, 1], IP + 16);
    frame.setUint16(UDP, 9);
    frame.setUint16(UDP + 2, 9);
    frame.setUint16(UDP + 4, bytes - UDP); // checksum 0: none
    this.words = new Uint32Array(frame.buffer);
    let sum = 0;
    for (let at = IP; at < UDP; at += 2) sum += frame.getUint16(at);
    this.sum = sum;
  }

  /** The frame of flow 0 to 65535, at the start of `words`, which has room for it. */
  write(words: Uint32Array, flow: number, sequence: number): void {
    const { words: template } = this;
    for (let i = 0; i < template.length; i++) words[i] = template[i]!;
    let sum = this.sum + flow;
    sum = (sum & 0xffff) + (sum >>> 16);
    sum = (sum & 0xffff) + (sum >>> 16);
    words[CHECKSUM_WORD] = (template[CHECKSUM_WORD]! & 0xffff_0000) | swap16(~sum);
    words[SOURCE_WORD] = (template[SOURCE_WORD]! & 0xffff_0000) | swap16(flow);
    words[SEQUENCE_WORD] = (swap16(sequence) << 16) | swap16(sequence >>> 16);
  }
}

function swap16(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}
