/**
 * Registers and command words of an NVMe controller, as far as the driver uses them.
 *
 * Names are those of the NVM Express base specification 2.0; the numbers in parentheses are its
 * sections, NVM: those of the NVM command set specification 1.0. All registers lie in BAR 0.
 */
import type { Region } from 'vfio';

/** Byte offsets of the controller's properties (3.1.3). */
export const Reg = {
  CAP: 0x00,
  VS: 0x08,
  INTMS: 0x0c,
  INTMC: 0x10,
  CC: 0x14,
  CSTS: 0x1c,
  AQA: 0x24,
  ASQ: 0x28,
  ACQ: 0x30,
  /** The first doorbell (PCIe transport 3.1.2). */
  DOORBELLS: 0x1000,
} as const;

export const CC_EN = 1 << 0;
/** IOSQES and IOCQES: entries of 2^6 and 2^4 bytes (3.1.3.5). MPS, AMS and CSS are 0: 4 KiB, round robin, NVM. */
export const CC_ENTRY_SIZES = (6 << 16) | (4 << 20);

export const CSTS_RDY = 1 << 0;
export const CSTS_CFS = 1 << 1;

/** The memory page of the driver (CC.MPS = 0), which PRP entries count in. */
export const PAGE = 4096;
export const SUBMISSION_BYTES = 64;
export const COMPLETION_BYTES = 16;
export const SUBMISSION_WORDS = SUBMISSION_BYTES / 4;
export const COMPLETION_WORDS = COMPLETION_BYTES / 4;

/** Words of a command (3.3.3.1), the last three of a read or write (NVM: 3.2.4 and 3.2.6). */
export const Word = { PRP1: 6, PRP2: 8, SLBA: 10, SLBA_HIGH: 11, BLOCK_COUNT: 12 } as const;

/** Admin commands (5, figure 138). */
export const Admin = {
  CREATE_SUBMISSION_QUEUE: 0x01,
  CREATE_COMPLETION_QUEUE: 0x05,
  IDENTIFY: 0x06,
  ABORT: 0x08,
  SET_FEATURES: 0x09,
  VIRTUALIZATION_MANAGEMENT: 0x1c,
} as const;

/** I/O commands (NVM: 3, figure 19). */
export const Io = { FLUSH: 0x00, WRITE: 0x01, READ: 0x02 } as const;

/** CNS of Identify (5.17.1). */
export const CNS_NAMESPACE = 0x00;
export const CNS_CONTROLLER = 0x01;
export const CNS_ACTIVE_NAMESPACES = 0x02;

/** Set Features: Number of Queues (5.27.1.5). */
export const FEATURE_QUEUES = 0x07;

/** What CAP says (3.1.3.1). */
export interface Capabilities {
  /** The most entries of a queue. */
  readonly maxEntries: number;
  /** The longest that CSTS.RDY may take to follow CC.EN, in ms. */
  readonly readyTimeout: number;
  /** Bytes from one doorbell to the next. */
  readonly doorbellStride: number;
  /** The least memory page, in bytes. */
  readonly minPage: number;
}

export function decodeCapabilities(lo: number, hi: number): Capabilities {
  return {
    maxEntries: (lo & 0xffff) + 1,
    readyTimeout: (lo >>> 24) * 500,
    doorbellStride: 4 << (hi & 0xf),
    minPage: 2 ** (12 + ((hi >>> 16) & 0xf)),
  };
}

export function readCapabilities(bar: Pick<Region, 'read64LoHi'>): Capabilities {
  const words = new Uint32Array(2);
  bar.read64LoHi(Reg.CAP, words);
  return decodeCapabilities(words[0]!, words[1]!);
}
