/** The capability chains behind info structs (`struct vfio_info_cap_header`). */
import { VfioError } from '../errors';
import type { FieldTypes, Struct, StructView } from './abi/layout';
import type { RequestName } from './abi/requests';
import { vfio_info_cap_header } from './abi/structs';
import { callStruct } from './call';

export interface Capability {
  readonly id: number;
  readonly version: number;
  /** From the header up to the end of the whole info buffer: the kernel gives capabilities no length. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

function malformed(why: string): VfioError {
  return new VfioError('ERR_VFIO_MALFORMED', `capability chain: ${why}`);
}

/**
 * Walk the chain that starts at `offset` of `bytes`.
 * @throws ERR_VFIO_MALFORMED on a loop or an offset outside the buffer.
 */
export function parseCapabilities(bytes: Uint8Array<ArrayBuffer>, offset: number): Capability[] {
  const capabilities: Capability[] = [];
  const seen = new Set<number>();
  for (let at = offset; at !== 0; ) {
    if (seen.has(at)) throw malformed(`loop at offset ${at}`);
    seen.add(at);
    if (at + vfio_info_cap_header.size > bytes.length) throw malformed(`offset ${at} is outside`);
    const { id, version, next } = vfio_info_cap_header.view(bytes.subarray(at));
    capabilities.push({ id, version, bytes: bytes.subarray(at) });
    at = next;
  }
  return capabilities;
}

/** Read the `count` structs that follow the fixed part of a capability. */
export function trailing<F extends FieldTypes>(
  { bytes }: Capability,
  fixed: number,
  count: number,
  element: Struct<F>,
): StructView<F>[] {
  if (fixed + count * element.size > bytes.length) throw malformed(`${count} x ${element.name}`);
  return Array.from({ length: count }, (_, i) =>
    element.view(bytes.subarray(fixed + i * element.size)),
  );
}

/**
 * Make an info request twice if need be: the kernel answers a short buffer with the size it wants
 * in `argsz`, and only a buffer of that size gets the capabilities.
 */
export function callWithCapabilities<F extends FieldTypes & { argsz: 'u32'; cap_offset: 'u32' }>(
  fd: number,
  ioctl: RequestName,
  layout: Struct<F>,
  capsFlag: number,
  fill: (arg: StructView<F>) => void = () => {},
): { info: StructView<F>; capabilities: Capability[] } {
  const read = (extra: number) => {
    const arg = layout.create(extra);
    fill(arg);
    callStruct(fd, ioctl, arg);
    return arg as StructView<F> & { argsz: number; cap_offset: number; flags: number };
  };
  let info = read(0);
  if (info.flags & capsFlag && info.argsz > layout.size) info = read(info.argsz - layout.size);
  const has = (info.flags & capsFlag) !== 0 && info.bytes.length > layout.size;
  return { info, capabilities: has ? parseCapabilities(info.bytes, info.cap_offset) : [] };
}
