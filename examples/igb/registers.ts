/**
 * Registers of the Intel 82576, as far as the drivers use them.
 *
 * Names are those of the datasheet (82576EB Gigabit Ethernet Controller, rev. 2.63); the numbers in
 * parentheses are its sections. All registers are 32 bits wide and lie in BAR 0, which is 128 KiB
 * for the PF and 16 KiB for a VF. A VF sees the same kinds of registers at other offsets, so the two
 * maps have different types: a VF offset on the PF's BAR does not compile.
 */
import type { Region } from 'vfio';

declare const map: unique symbol;
/** Byte offset of a register in the PF's BAR 0. */
export type PfRegister = number & { readonly [map]: 'pf' };
/** Byte offset of a register in a VF's BAR 0. */
export type VfRegister = number & { readonly [map]: 'vf' };

const pf = (offset: number) => offset as PfRegister;
const vf = (offset: number) => offset as VfRegister;

/** A BAR whose registers are named by one function's map. */
export class Registers<R extends number> {
  constructor(private readonly bar: Pick<Region, 'read32' | 'write32'>) {}

  read(register: R): number {
    return this.bar.read32(register);
  }

  write(register: R, value: number): void {
    this.bar.write32(register, value >>> 0);
  }

  set(register: R, bits: number): void {
    this.write(register, this.read(register) | bits);
  }

  clear(register: R, bits: number): void {
    this.write(register, this.read(register) & ~bits);
  }
}

/** The registers of one receive queue (8.10). */
export interface RxQueueRegisters<R extends number> {
  readonly RDBAL: R;
  readonly RDBAH: R;
  readonly RDLEN: R;
  readonly SRRCTL: R;
  readonly RDH: R;
  readonly RDT: R;
  readonly RXDCTL: R;
}

/** The registers of one transmit queue (8.12). */
export interface TxQueueRegisters<R extends number> {
  readonly TDBAL: R;
  readonly TDBAH: R;
  readonly TDLEN: R;
  readonly TDH: R;
  readonly TDT: R;
  readonly TXDCTL: R;
}

function rxQueue<R extends number>(base: number, at: (offset: number) => R): RxQueueRegisters<R> {
  return {
    RDBAL: at(base),
    RDBAH: at(base + 0x04),
    RDLEN: at(base + 0x08),
    SRRCTL: at(base + 0x0c),
    RDH: at(base + 0x10),
    RDT: at(base + 0x18),
    RXDCTL: at(base + 0x28),
  };
}

function txQueue<R extends number>(base: number, at: (offset: number) => R): TxQueueRegisters<R> {
  return {
    TDBAL: at(base),
    TDBAH: at(base + 0x04),
    TDLEN: at(base + 0x08),
    TDH: at(base + 0x10),
    TDT: at(base + 0x18),
    TXDCTL: at(base + 0x28),
  };
}

/** The registers of a receive and a transmit queue. */
export interface QueueRegisters<R extends number> {
  readonly rxQueue: RxQueueRegisters<R>;
  readonly txQueue: TxQueueRegisters<R>;
}

/** The physical function. `n` counts VFs, queues, pools or table entries from 0. */
export const Pf = {
  // General (8.2) and EEPROM (8.4)
  CTRL: pf(0x0000),
  STATUS: pf(0x0008),
  EECD: pf(0x0010),
  CTRL_EXT: pf(0x0018),
  MDIC: pf(0x0020),

  // Interrupts (8.8)
  /** Here and in the next two the alias of the 82575's map, which QEMU knows alone. */
  ICR: pf(0x00c0),
  IMS: pf(0x00d0),
  IMC: pf(0x00d8),
  GPIE: pf(0x1514),
  EIMS: pf(0x1524),
  EIMC: pf(0x1528),
  EIAC: pf(0x152c),
  EITR: (n: number) => pf(0x1680 + 4 * n),
  IVAR: (n: number) => pf(0x1700 + 4 * n),
  IVAR_MISC: pf(0x1740),

  // Receive and filters (8.10)
  RCTL: pf(0x0100),
  QDE: pf(0x2408),
  RLPML: pf(0x5004),
  MTA: (n: number) => pf(0x5200 + 4 * n),
  /** Entries 16 to 23 lie in a second block. */
  RAL: (n: number) => pf(n < 16 ? 0x5400 + 8 * n : 0x54e0 + 8 * (n - 16)),
  RAH: (n: number) => pf(n < 16 ? 0x5404 + 8 * n : 0x54e4 + 8 * (n - 16)),
  VFTA: (n: number) => pf(0x5600 + 4 * n),
  MRQC: pf(0x5818),
  queue: (n: number): QueueRegisters<PfRegister> => ({
    rxQueue: rxQueue(0xc000 + 0x40 * n, pf),
    txQueue: txQueue(0xe000 + 0x40 * n, pf),
  }),

  // Transmit (8.12)
  TCTL: pf(0x0400),
  DTXCTL: pf(0x3590),

  // Virtualization (8.14): mailboxes, then the switch
  VMBMEM: (n: number) => pf(0x0800 + 0x40 * n),
  P2VMAILBOX: (n: number) => pf(0x0c00 + 4 * n),
  MBVFICR: pf(0x0c80),
  MBVFIMR: pf(0x0c84),
  VFLRE: pf(0x0c88),
  VFRE: pf(0x0c8c),
  VFTE: pf(0x0c90),
  DTXSWC: pf(0x3500),
  VT_CTL: pf(0x581c),
  VMOLR: (n: number) => pf(0x5ad0 + 4 * n),
  RPLOLR: pf(0x5af0),
  VLVF: (n: number) => pf(0x5d00 + 4 * n),
  UTA: (n: number) => pf(0xa000 + 4 * n),

  // Receive side scaling (8.10)
  RXCSUM: pf(0x5000),
  RETA: (n: number) => pf(0x5c00 + 4 * n),
  RSSRK: (n: number) => pf(0x5c80 + 4 * n),

  // Statistics (8.18): cleared by reading
  CRCERRS: pf(0x4000),
  MPC: pf(0x4010),
  RLEC: pf(0x4040),
  GPRC: pf(0x4074),
  BPRC: pf(0x4078),
  MPRC: pf(0x407c),
  GPTC: pf(0x4080),
  GORCL: pf(0x4088),
  GORCH: pf(0x408c),
  GOTCL: pf(0x4090),
  GOTCH: pf(0x4094),
  RUC: pf(0x40a4),
  ROC: pf(0x40ac),
  RQDPC: (n: number) => pf(0xc030 + 0x40 * n),
} as const;

/** A virtual function (8.26). */
export const Vf = {
  CTRL: vf(0x0000),
  STATUS: vf(0x0008),
  VMBMEM: vf(0x0800),
  V2PMAILBOX: vf(0x0c40),
  /** Statistics: they count on, and wrap. */
  GPRC: vf(0x0f10),
  GPTC: vf(0x0f14),
  GORC: vf(0x0f18),
  GOTC: vf(0x0f34),
  MPRC: vf(0x0f3c),
  EIMS: vf(0x1524),
  EIMC: vf(0x1528),
  EIAC: vf(0x152c),
  EITR: (n: number) => vf(0x1680 + 4 * n),
  IVAR: vf(0x1700),
  IVAR_MISC: vf(0x1740),
  rxQueue: rxQueue(0x2800, vf),
  txQueue: txQueue(0x3800, vf),
} as const;

/** What the switch and its tables hold. */
export const POOLS = 8;
export const RAR_ENTRIES = 24;
export const MTA_WORDS = 128;
export const VFTA_WORDS = 128;
export const VLVF_ENTRIES = 32;
export const UTA_WORDS = 128;
/** Words of mailbox memory a VF (8.14, VMBMEM). */
export const MAILBOX_WORDS = 16;
/** The longest frame, with FCS, the MAC receives (8.10, RLPML). */
export const MAX_JUMBO_FRAME = 9728;

export const CTRL_SLU = 1 << 6; // set link up
export const CTRL_RST = 1 << 26;
export const CTRL_VME = 1 << 30; // strip VLAN tags
export const CTRL_EXT_PFRSTD = 1 << 14; // PF reset done: VFs leave reset
export const STATUS_LU = 1 << 1; // link up
export const EECD_AUTO_RD = 1 << 9; // the EEPROM has been read

export const ICR_LSC = 1 << 2; // link status change
export const ICR_VMMB = 1 << 8; // VF mailbox or VF function level reset
export const GPIE_NSICR = 1 << 0; // reading ICR clears it
export const GPIE_MSIX_MODE = 1 << 4;
export const GPIE_EIAME = 1 << 30;
export const GPIE_PBA = 1 << 31;
export const IVAR_VALID = 0x80;
/** Where IVAR has the causes of queue `n`: receive in the byte at `shift`, transmit in the next. */
export const ivarOf = (n: number) => ({ index: n & 7, shift: n < 8 ? 0 : 16 });
/** EITR counts microseconds from bit 2 up (8.8). */
export const eitr = (microseconds: number) => microseconds << 2;

export const RCTL_EN = 1 << 1;
export const RCTL_UPE = 1 << 3; // unicast promiscuous
export const RCTL_MPE = 1 << 4; // multicast promiscuous
export const RCTL_LPE = 1 << 5; // long packets, up to RLPML
export const RCTL_BAM = 1 << 15; // accept broadcast
export const RCTL_VFE = 1 << 18; // VLAN filter
export const RCTL_SECRC = 1 << 26; // strip the FCS
export const TCTL_EN = 1 << 1;
export const TCTL_PSP = 1 << 3; // pad short packets
export const DTXCTL_VLAN_ADDED = 1 << 3;
export const RXCSUM_PCSD = 1 << 13; // the hash, not a checksum, in receive descriptors
export const MRQC_RSS = 2; // queues are chosen by hash
export const MRQC_RSS_IPV4 = 1 << 17;
export const MRQC_RSS_IPV6 = 1 << 20;
export const MRQC_VMDQ = 3; // queues belong to pools, chosen by address
export const RAH_AV = 1 << 31;
export const rahPool = (pool: number) => 1 << (18 + pool);

/** In KiB (8.10.2). */
export const srrctlBufferSize = (bytes: number) => bytes >> 10;
export const SRRCTL_DESCTYPE_ADV_ONEBUF = 1 << 25;
export const SRRCTL_DROP_EN = 1 << 31; // a full queue drops, and does not hold up the others
export const QUEUE_ENABLE = 1 << 25; // RXDCTL and TXDCTL

export const DTXSWC_LOOPBACK_EN = 1 << 31; // the switch forwards from pool to pool
export const VT_CTL_REPLICATION_EN = 1 << 30; // multicast goes to every pool that wants it
export const vtCtlDefaultPool = (pool: number) => pool << 7;
export const RPLOLR_STRVLAN = 1 << 30;

export const VMOLR_RLPML_MASK = 0x3fff; // longest frame of the pool
export const VMOLR_LPE = 1 << 16;
export const VMOLR_AUPE = 1 << 24; // accept untagged
export const VMOLR_ROMPE = 1 << 25; // accept multicast that MTA lets through
export const VMOLR_BAM = 1 << 27; // accept broadcast
export const VMOLR_MPME = 1 << 28; // multicast promiscuous
export const VMOLR_STRVLAN = 1 << 30;
export const VMOLR_STRCRC = 1 << 31;
export const VLVF_ENABLE = 1 << 31;
export const VLVF_VLAN_MASK = 0xfff;
export const VLVF_POOLS_MASK = 0xff << 12;
export const vlvfPool = (pool: number) => 1 << (12 + pool);

export const P2V_STS = 1 << 0; // a message for the VF is in the buffer
export const P2V_ACK = 1 << 1; // the VF's message has been read
export const P2V_VFU = 1 << 2; // the VF holds the buffer
export const P2V_PFU = 1 << 3; // the PF holds the buffer
export const P2V_RVFU = 1 << 4; // take the buffer from a VF that is stuck
export const mbvficrRequest = (vfIndex: number) => 1 << vfIndex;
export const mbvficrAck = (vfIndex: number) => 1 << (16 + vfIndex);

export const V2P_REQ = 1 << 0;
export const V2P_ACK = 1 << 1;
export const V2P_VFU = 1 << 2;
export const V2P_PFU = 1 << 3;
export const V2P_PFSTS = 1 << 4; // cleared by reading, as the next two with RC
export const V2P_PFACK = 1 << 5; // RC
export const V2P_RSTI = 1 << 6; // the PF is in reset
export const V2P_RSTD = 1 << 7; // the PF has come out of reset; RC
