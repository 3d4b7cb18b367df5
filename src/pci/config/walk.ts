/** The two lists of capabilities in config space, walked whatever the device says. */
import type { ConfigBytes } from './config-bytes';

/** Something in config space that contradicts the specification or could not be read. */
export interface ConfigProblem {
  /** Where, in bytes from the start of config space. */
  readonly offset: number;
  readonly message: string;
}

export interface ListEntry {
  readonly id: number;
  /** 0 in the first list, which has none. */
  readonly version: number;
  readonly offset: number;
}

export interface CapabilityList {
  readonly entries: readonly ListEntry[];
  readonly problems: readonly ConfigProblem[];
}

/** Where the first list ends and the second begins (PCI_CFG_SPACE_SIZE). */
export const EXTENDED_START = 0x100;

interface Chain {
  /** Its name in messages. */
  readonly name: string;
  readonly start: number;
  readonly end: number;
  /** How many bytes the head of an entry has. */
  readonly head: number;
  read(offset: number): { id: number; version: number; next: number } | undefined;
}

function walk(chain: Chain, first: number): CapabilityList {
  const entries: ListEntry[] = [];
  const stop = (offset: number, message: string) => ({ entries, problems: [{ offset, message }] });
  const seen = new Set<number>();
  for (let offset = first; offset !== 0; ) {
    const at = `${chain.name} at 0x${offset.toString(16)}`;
    if (offset < chain.start) return stop(offset, `${at}: the list may not go there`);
    if (offset + chain.head > chain.end) {
      return stop(offset, `${at}: outside of the ${chain.end} bytes that were read`);
    }
    if (seen.has(offset)) return stop(offset, `${at}: the list goes round in a loop`);
    seen.add(offset);
    const entry = chain.read(offset);
    if (entry === undefined) return stop(offset, `${at}: reads as all ones`);
    entries.push({ id: entry.id, version: entry.version, offset });
    offset = entry.next;
  }
  return { entries, problems: [] };
}

/** The list that `pointer` begins, a register of the header (PCI 3.0, 6.7; PCIe 6.0, 7.5.1.1.11). */
export function walkCapabilities(config: ConfigBytes, pointer: number): CapabilityList {
  const dword = (offset: number) => offset & 0xfc;
  const chain: Chain = {
    name: 'capability',
    start: 0x40,
    end: Math.min(config.length, EXTENDED_START),
    head: 4,
    read(offset) {
      const id = config.u8(offset);
      if (id === 0xff) return undefined;
      return { id, version: 0, next: dword(config.u8(offset + 1)) };
    },
  };
  return walk(chain, dword(config.u8(pointer)));
}

/** The list from 0x100 on (PCIe 6.0, 7.6.3): none in conventional PCI, where nothing or 0 is there. */
export function walkExtendedCapabilities(config: ConfigBytes): CapabilityList {
  const none = [0, 0xffff_ffff];
  if (none.includes(config.u32(EXTENDED_START)) || isAliased(config)) {
    return { entries: [], problems: [] };
  }
  const chain: Chain = {
    name: 'extended capability',
    start: EXTENDED_START,
    end: config.length,
    head: 4,
    read(offset) {
      const header = config.u32(offset);
      if (header === 0xffff_ffff) return undefined;
      return { id: header & 0xffff, version: (header >>> 16) & 0xf, next: (header >>> 20) & 0xffc };
    },
  };
  return walk(chain, EXTENDED_START);
}

/** Registers that do not change: ids, class and revision. */
const FIXED = [0x00, 0x08];

/**
 * A bus or bridge that ignores the upper bits of the offset shows the first 256 bytes again
 * (pci_ext_cfg_is_aliased of drivers/pci/probe.c).
 */
function isAliased(config: ConfigBytes): boolean {
  return FIXED.every((offset) => config.u32(EXTENDED_START + offset) === config.u32(offset));
}
