/** What Identify returns (NVMe Base 2.0, 5.17.2; NVM Command Set 1.0, 4.1.5.1). */

export interface ControllerInfo {
  readonly vendor: number;
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
  /** Most bytes of one command; Infinity if the controller has no limit. */
  readonly maxTransfer: number;
  readonly namespaces: number;
}

export interface NamespaceInfo {
  readonly blocks: bigint;
  readonly blockBytes: number;
}

/** `data` is the 4096 bytes of CNS 01h. */
export function parseController(data: Uint8Array): ControllerInfo {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const text = (from: number, to: number) =>
    Buffer.from(data.subarray(from, to)).toString('latin1').trim();
  const mdts = data[77]!;
  return {
    vendor: view.getUint16(0, true),
    serial: text(4, 24),
    model: text(24, 64),
    firmware: text(64, 72),
    maxTransfer: mdts === 0 ? Number.POSITIVE_INFINITY : 4096 * 2 ** mdts,
    namespaces: view.getUint32(516, true),
  };
}

/** `data` is the 4096 bytes of CNS 00h. */
export function parseNamespace(data: Uint8Array): NamespaceInfo {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const format = data[26]! & 0xf;
  const lbads = data[128 + 4 * format + 2]!;
  if (view.getBigUint64(0, true) === 0n || lbads < 9 || lbads > 16) {
    throw new RangeError(`no such namespace, or blocks of 2^${lbads} bytes`);
  }
  return { blocks: view.getBigUint64(0, true), blockBytes: 2 ** lbads };
}
