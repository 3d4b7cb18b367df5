/**
 * Frames to a file in pcapng (draft-ietf-opsawg-pcapng), which Wireshark reads: one section, one
 * Ethernet interface. Blocks are collected in memory and written in large pieces.
 */
import { closeSync, openSync, writeSync } from 'node:fs';

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const INTERFACE_STATISTICS = 5;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;

// Options: code and length, 16 bits each, then the value.
const END_OF_OPTIONS = 0;
const IF_NAME = 2;
const ISB_IFRECV = 4;
const ISB_IFDROP = 5;

/** Type and total length before, total length after. */
const FRAMING = 12;
const PACKET_HEADER = 20;
const CHUNK = 1 << 20;

/** Where a VLAN tag stands in a frame, and what comes before its number (IEEE 802.1Q). */
const TAG_AT = 12;
const TAG_BYTES = 4;
const TPID = 0x8100;

export interface CaptureCounts {
  readonly received: number;
  readonly dropped: number;
}

const padded = (bytes: number) => (bytes + 3) & ~3;
/** Microseconds since 1970, what pcapng counts in unless told otherwise. */
const now = () => Math.floor((performance.timeOrigin + performance.now()) * 1000);

export class PcapngWriter {
  private readonly fd: number;
  private readonly memory = Buffer.alloc(CHUNK);
  private used = 0;

  /**
   * @param snapLength bytes of a frame that are kept
   * @throws the file system's error (EACCES, ENOENT, ...)
   */
  constructor(
    path: string,
    interfaceName: string,
    private readonly snapLength: number,
  ) {
    this.fd = openSync(path, 'w');
    this.block(SECTION_HEADER, 16, (body) => {
      body.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
      body.writeUInt16LE(1, 4); // version 1.0
      body.writeUInt16LE(0, 6);
      body.fill(0xff, 8, 16); // the section's length: not told
    });
    const name = Buffer.from(interfaceName);
    this.block(INTERFACE_DESCRIPTION, 8 + 4 + padded(name.length) + 4, (body) => {
      body.writeUInt16LE(LINKTYPE_ETHERNET, 0);
      body.writeUInt16LE(0, 2);
      body.writeUInt32LE(snapLength, 4);
      body.writeUInt16LE(IF_NAME, 8);
      body.writeUInt16LE(name.length, 10);
      name.copy(body, 12);
      body.writeUInt32LE(END_OF_OPTIONS, 12 + padded(name.length));
    });
  }

  /** A frame of `length` bytes at the start of `bytes`, as it was on the wire: with its VLAN tag, if not 0. */
  write(bytes: Uint8Array, length: number, vlan: number): void {
    const original = length + (vlan === 0 ? 0 : TAG_BYTES);
    const kept = Math.min(original, this.snapLength);
    // Room for all of it, before it is cut.
    const { memory } = this;
    const at = this.reserve(FRAMING + PACKET_HEADER + padded(original));
    const size = FRAMING + PACKET_HEADER + padded(kept);
    const time = now();
    memory.writeUInt32LE(ENHANCED_PACKET, at);
    memory.writeUInt32LE(size, at + 4);
    memory.writeUInt32LE(0, at + 8); // the interface
    memory.writeUInt32LE(Math.floor(time / 2 ** 32), at + 12);
    memory.writeUInt32LE(time >>> 0, at + 16);
    memory.writeUInt32LE(kept, at + 20);
    memory.writeUInt32LE(original, at + 24);
    const data = at + 28;
    if (vlan === 0) {
      for (let i = 0; i < length; i++) memory[data + i] = bytes[i]!;
    } else {
      for (let i = 0; i < TAG_AT; i++) memory[data + i] = bytes[i]!;
      memory.writeUInt16BE(TPID, data + TAG_AT);
      memory.writeUInt16BE(vlan, data + TAG_AT + 2);
      for (let i = TAG_AT; i < length; i++) memory[data + TAG_BYTES + i] = bytes[i]!;
    }
    memory.fill(0, data + kept, data + padded(kept));
    memory.writeUInt32LE(size, at + size - 4);
    this.used = at + size;
  }

  /** Everything so far is in the file. @throws ENOSPC and the like */
  flush(): void {
    let written = 0;
    while (written < this.used) {
      written += writeSync(this.fd, this.memory, written, this.used - written);
    }
    this.used = 0;
  }

  /** With how many frames there were. */
  close({ received, dropped }: CaptureCounts): void {
    try {
      const time = now();
      this.block(INTERFACE_STATISTICS, 12 + 12 + 12 + 4, (body) => {
        body.writeUInt32LE(0, 0);
        body.writeUInt32LE(Math.floor(time / 2 ** 32), 4);
        body.writeUInt32LE(time >>> 0, 8);
        for (const [at, code, count] of [
          [12, ISB_IFRECV, received],
          [24, ISB_IFDROP, dropped],
        ] as const) {
          body.writeUInt16LE(code, at);
          body.writeUInt16LE(8, at + 2);
          body.writeBigUInt64LE(BigInt(count), at + 4);
        }
        body.writeUInt32LE(END_OF_OPTIONS, 36);
      });
      this.flush();
    } finally {
      closeSync(this.fd);
    }
  }

  /** Where `bytes` bytes of room begin. */
  private reserve(bytes: number): number {
    if (this.used + bytes > CHUNK) this.flush();
    return this.used;
  }

  private block(type: number, bodyBytes: number, fill: (body: Buffer) => void): void {
    const size = FRAMING + bodyBytes;
    const at = this.reserve(size);
    const { memory } = this;
    memory.fill(0, at, at + size);
    memory.writeUInt32LE(type, at);
    memory.writeUInt32LE(size, at + 4);
    fill(memory.subarray(at + 8, at + 8 + bodyBytes));
    memory.writeUInt32LE(size, at + size - 4);
    this.used = at + size;
  }
}
