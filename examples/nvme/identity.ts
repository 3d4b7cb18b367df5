/** What Identify tells (base specification, 5.17.2), decoded. */

export interface ControllerIdentity {
  readonly vendor: number;
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
  readonly controllerId: number;
  /** Major, minor and tertiary version, `1.4.0`. */
  readonly version: string;
  /** The most bytes of one command's data; Infinity if the controller does not say. */
  readonly maxTransfer: number;
  readonly namespaces: number;
  /** Whether there is a cache that Flush writes back. */
  readonly volatileCache: boolean;
  readonly virtualization: boolean;
  readonly qualifiedName: string;
}

export interface NamespaceIdentity {
  readonly id: number;
  /** In blocks. */
  readonly size: bigint;
  readonly blockBytes: number;
  readonly metadataBytes: number;
}

/** Bytes of Identify data. */
export const IDENTIFY_BYTES = 4096;

/** OACS: Virtualization Management (5.17.2.1, bytes 257:256). */
const OACS_VIRTUALIZATION = 1 << 7;

/** Identify Controller (figure 275). `minPage` is CAP.MPSMIN in bytes, the unit of MDTS. */
export function decodeController(data: Uint8Array, minPage: number): ControllerIdentity {
  const view = viewOf(data);
  const version = view.getUint32(80, true);
  const mdts = data[77]!;
  return {
    vendor: view.getUint16(0, true),
    serial: text(data, 4, 24),
    model: text(data, 24, 64),
    firmware: text(data, 64, 72),
    controllerId: view.getUint16(78, true),
    version: `${version >>> 16}.${(version >>> 8) & 0xff}.${version & 0xff}`,
    maxTransfer: mdts === 0 ? Number.POSITIVE_INFINITY : minPage * 2 ** mdts,
    namespaces: view.getUint32(516, true),
    volatileCache: (data[525]! & 1) !== 0,
    virtualization: (view.getUint16(256, true) & OACS_VIRTUALIZATION) !== 0,
    qualifiedName: text(data, 768, 1024),
  };
}

/** Identify Namespace (NVM: figure 97). */
export function decodeNamespace(id: number, data: Uint8Array): NamespaceIdentity {
  const view = viewOf(data);
  const flbas = data[26]!;
  // Bits 6:5 are the upper bits of the format's number.
  const format = 128 + 4 * ((flbas & 0xf) | ((flbas & 0x60) >> 1));
  return {
    id,
    size: view.getBigUint64(0, true),
    blockBytes: 2 ** data[format + 2]!,
    metadataBytes: view.getUint16(format, true),
  };
}

/** Active Namespace ID list (5.17.2.2): ends at the first 0. */
export function decodeNamespaceList(data: Uint8Array): number[] {
  const view = viewOf(data);
  const ids: number[] = [];
  for (let at = 0; at + 4 <= data.length; at += 4) {
    const id = view.getUint32(at, true);
    if (id === 0) break;
    ids.push(id);
  }
  return ids;
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.length);
}

/** Padded with spaces, or ended by 0; bytes that are not printable ASCII become dots. */
function text(data: Uint8Array, from: number, to: number): string {
  const bytes = Buffer.from(data.subarray(from, to)).toString('latin1').split('\0')[0]!;
  return bytes.replace(/[^ -~]/g, '.').trim();
}
