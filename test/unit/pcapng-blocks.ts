/** Reads pcapng as its specification has it, strictly: for files that we write. */
import assert from 'node:assert/strict';

export interface Packet {
  readonly microseconds: number;
  readonly original: number;
  readonly bytes: Uint8Array;
}

export interface Capture {
  readonly linkType: number;
  readonly snapLength: number;
  readonly interfaceName: string;
  readonly packets: Packet[];
  readonly received: bigint;
  readonly dropped: bigint;
}

interface Block {
  readonly type: number;
  readonly body: Buffer;
}

function blocks(file: Buffer): Block[] {
  const found: Block[] = [];
  for (let at = 0; at < file.length; ) {
    const size = file.readUInt32LE(at + 4);
    assert.equal(size % 4, 0, `block at ${at}: not padded`);
    assert.ok(size >= 12 && at + size <= file.length, `block at ${at}: ${size} bytes`);
    assert.equal(file.readUInt32LE(at + size - 4), size, `block at ${at}: lengths differ`);
    found.push({ type: file.readUInt32LE(at), body: file.subarray(at + 8, at + size - 4) });
    at += size;
  }
  return found;
}

function options(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    const [code, length] = [bytes.readUInt16LE(at), bytes.readUInt16LE(at + 2)];
    if (code === 0) {
      assert.equal(at + 4, bytes.length, 'something follows opt_endofopt');
      return found;
    }
    found.set(code, bytes.subarray(at + 4, at + 4 + length));
    at += 4 + Math.ceil(length / 4) * 4;
  }
  throw new Error('no opt_endofopt');
}

const time = (body: Buffer, at: number) =>
  body.readUInt32LE(at) * 2 ** 32 + body.readUInt32LE(at + 4);

function packet(body: Buffer): Packet {
  assert.equal(body.readUInt32LE(0), 0, 'another interface');
  const captured = body.readUInt32LE(12);
  assert.equal(body.length, 20 + Math.ceil(captured / 4) * 4);
  assert.ok(
    body.subarray(20 + captured).every((byte) => byte === 0),
    'padding',
  );
  return {
    microseconds: time(body, 4),
    original: body.readUInt32LE(16),
    bytes: body.subarray(20, 20 + captured),
  };
}

export function readCapture(file: Buffer): Capture {
  const [section, description, ...rest] = blocks(file);
  assert.equal(section!.type, 0x0a0d0d0a);
  assert.equal(section!.body.readUInt32LE(0), 0x1a2b3c4d);
  assert.deepEqual([section!.body.readUInt16LE(4), section!.body.readUInt16LE(6)], [1, 0]);
  assert.equal(section!.body.readBigInt64LE(8), -1n);
  assert.equal(description!.type, 1);
  const statistics = rest.pop()!;
  assert.equal(statistics.type, 5);
  for (const { type } of rest) assert.equal(type, 6);
  const counts = options(statistics.body.subarray(12));
  return {
    linkType: description!.body.readUInt16LE(0),
    snapLength: description!.body.readUInt32LE(4),
    interfaceName: options(description!.body.subarray(8)).get(2)!.toString(),
    packets: rest.map(({ body }) => packet(body)),
    received: counts.get(4)!.readBigUInt64LE(),
    dropped: counts.get(5)!.readBigUInt64LE(),
  };
}
