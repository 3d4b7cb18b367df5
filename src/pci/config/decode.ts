/** From the bytes of config space to plain data, which JSON can hold. */
import { VfioError } from '../../errors';
import {
  capabilityDecoders,
  type DecodeContext,
  type Decoder,
  extendedDecoders,
} from './capabilities';
import { ConfigBytes } from './config-bytes';
import { type ConfigHeader, decodeHeader } from './header';
import { capabilityNames, extendedCapabilityNames } from './names';
import {
  type ConfigProblem,
  EXTENDED_START,
  type ListEntry,
  walkCapabilities,
  walkExtendedCapabilities,
} from './walk';

/** Where a capability is, and what it is. */
export interface CapabilityPlace {
  readonly id: number;
  /** As the specification calls it; `unknown` for ids that it had not given out in 2024. */
  readonly name: string;
  /** Of an extended capability; 0 of the others. */
  readonly version: number;
  /** In bytes from the start of config space. */
  readonly offset: number;
  /** In bytes; of a capability of kind `other` up to the next one, or the end of the space. */
  readonly length: number;
  /** All its bytes in hex, two digits each. */
  readonly raw: string;
}

type DecodedBy<D> = {
  [Id in keyof D]: D[Id] extends Decoder<infer K, infer T> ? { readonly kind: K } & T : never;
}[keyof D];

/** Of the kinds that are decoded, `pm` and so on; the rest, and what is cut off, are `other`. */
export type Capability = CapabilityPlace &
  (DecodedBy<typeof capabilityDecoders> | { readonly kind: 'other' });
export type ExtendedCapability = CapabilityPlace &
  (DecodedBy<typeof extendedDecoders> | { readonly kind: 'other' });
export type CapabilityKind = Exclude<(Capability | ExtendedCapability)['kind'], 'other'>;
export type CapabilityOf<K extends CapabilityKind> = Extract<
  Capability | ExtendedCapability,
  { readonly kind: K }
>;

/**
 * Config space of a function. Numbers are as registers have them; addresses and other 64-bit values
 * are hex strings such as `0xfebc0000`, which `BigInt()` takes.
 */
export interface ConfigSpace {
  /** Bytes that were there to decode: 4096, 256 of conventional PCI, 64 for who may not read more. */
  readonly size: number;
  readonly header: ConfigHeader;
  /** The list in the first 256 bytes, in its order. */
  readonly capabilities: readonly Capability[];
  /** The list from 0x100 on, in its order. */
  readonly extendedCapabilities: readonly ExtendedCapability[];
  /** What could not be decoded. A list ends where it is damaged. */
  readonly problems: readonly ConfigProblem[];
}

const HEADER_SIZE = 0x40;
const CARDBUS_POINTER = 0x14;
const CAPABILITY_POINTER = 0x34;

type Decoders = Readonly<Record<number, Decoder>>;
type Names = Readonly<Record<number, string>>;

interface DecodedList {
  capabilities: (CapabilityPlace & { kind: string })[];
  problems: ConfigProblem[];
}

/** The entry's own part: of `size` bytes, and what is wrong with that. */
function extent(
  config: ConfigBytes,
  { offset }: ListEntry,
  upTo: number,
  end: number,
  decoder: Decoder | undefined,
  context: DecodeContext,
): { length: number; problem?: string } {
  if (!decoder) return { length: upTo - offset };
  const size = decoder.size(config.part(offset, end - offset), context);
  const digits = offset.toString(16);
  if (size < decoder.least) {
    const problem = `${decoder.kind} at 0x${digits} says it has ${size} bytes of ${decoder.least}`;
    return { length: upTo - offset, problem };
  }
  if (offset + size > end) {
    const problem = `${decoder.kind} at 0x${digits} has ${size} bytes, ${end - offset} are there`;
    return { length: end - offset, problem };
  }
  return { length: size };
}

function decodeList(
  config: ConfigBytes,
  entries: readonly ListEntry[],
  end: number,
  decoders: Decoders,
  names: Names,
  context: DecodeContext,
): DecodedList {
  const starts = [...entries.map(({ offset }) => offset), end].sort((a, b) => a - b);
  const problems: ConfigProblem[] = [];
  const capabilities = entries.map((entry) => {
    const { id, version, offset } = entry;
    const upTo = starts.find((start) => start > offset)!;
    const decoder = decoders[id];
    const { length, problem } = extent(config, entry, upTo, end, decoder, context);
    if (problem !== undefined) problems.push({ offset, message: problem });
    const bytes = config.part(offset, length);
    const name = names[id] ?? 'unknown';
    const place = { id, name, version, offset, length, raw: bytes.hexDigits() };
    if (!decoder || problem !== undefined) return { kind: 'other', ...place };
    return { kind: decoder.kind, ...place, ...decoder.decode(bytes, context) };
  });
  return { capabilities, problems };
}

function isRoot(capabilities: readonly Capability[]): boolean {
  const express = capabilities.find((cap) => cap.kind === 'pcie');
  return express?.portType === 'root-port' || express?.portType === 'rc-event-collector';
}

/**
 * Decode config space: bytes from offset 0 on, from a device's `config` file in sysfs, a config
 * region, or a dump. Whatever a device says, it comes to an end and does not throw: what is
 * damaged is told by `problems`.
 * @throws ERR_VFIO_MALFORMED for less than the 64 bytes of a header
 */
export function decodeConfigSpace(bytes: Uint8Array): ConfigSpace {
  if (bytes.length < HEADER_SIZE) {
    throw new VfioError('ERR_VFIO_MALFORMED', `config space of ${bytes.length} bytes`, {
      hint: `a header alone has ${HEADER_SIZE}; give all that was read, from offset 0 on`,
    });
  }
  const config = new ConfigBytes(bytes);
  const header = decodeHeader(config);
  const pointer = header.type === 'cardbus' ? CARDBUS_POINTER : CAPABILITY_POINTER;
  const list = header.status.capabilityList
    ? walkCapabilities(config, pointer)
    : { entries: [], problems: [] };
  const end = Math.min(config.length, EXTENDED_START);
  const first = decodeList(config, list.entries, end, capabilityDecoders, capabilityNames, {
    isRoot: false,
  });
  const capabilities = first.capabilities as Capability[];

  const extendedList = walkExtendedCapabilities(config);
  const second = decodeList(
    config,
    extendedList.entries,
    config.length,
    extendedDecoders,
    extendedCapabilityNames,
    { isRoot: isRoot(capabilities) },
  );
  return {
    size: config.length,
    header,
    capabilities,
    extendedCapabilities: second.capabilities as ExtendedCapability[],
    problems: [list, first, extendedList, second].flatMap(({ problems }) => problems),
  };
}

/** The first capability of a kind: `findCapability(config, 'msix')?.table.bar`. */
export function findCapability<K extends CapabilityKind>(
  config: ConfigSpace,
  kind: K,
): CapabilityOf<K> | undefined {
  const all: readonly { kind: string }[] = [...config.capabilities, ...config.extendedCapabilities];
  return all.find((cap) => cap.kind === kind) as CapabilityOf<K> | undefined;
}
