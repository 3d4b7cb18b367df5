/**
 * The 82576's switch (7.10.3): which frames go to which pool. VF n is pool n; the PF has pool 7.
 *
 * Addresses are in the RAR table: entry 0 is the PF's, entry 23 - n VF n's, 1 to 15 hold what VFs
 * ask for beyond that.
 */
import { isUnicast, type Mac, macHigh, macLow } from './mac';
import {
  DTXCTL_VLAN_ADDED,
  DTXSWC_LOOPBACK_EN,
  MAX_JUMBO_FRAME,
  MRQC_VMDQ,
  MTA_WORDS,
  Pf,
  type PfRegister,
  POOLS,
  RAH_AV,
  RAR_ENTRIES,
  type Registers,
  RPLOLR_STRVLAN,
  rahPool,
  UTA_WORDS,
  VFTA_WORDS,
  VLVF_ENABLE,
  VLVF_ENTRIES,
  VLVF_POOLS_MASK,
  VLVF_VLAN_MASK,
  VMOLR_AUPE,
  VMOLR_BAM,
  VMOLR_LPE,
  VMOLR_MPME,
  VMOLR_RLPML_MASK,
  VMOLR_ROMPE,
  VMOLR_STRCRC,
  VMOLR_STRVLAN,
  VT_CTL_REPLICATION_EN,
  vlvfPool,
  vtCtlDefaultPool,
} from './registers';

/** The PF's own pool: the last, which no VF uses as long as there are at most seven. */
export const PF_POOL = POOLS - 1;
export const MAX_VFS = POOLS - 1;

const MAX_FRAME = 1522;
const VLAN_TAG = 4;
/** More multicast addresses than a message holds: the VF gets all multicast. */
const MAX_HASHES = 30;

const FREE = -1;
const vfEntry = (vf: number) => RAR_ENTRIES - 1 - vf;

interface VfMulticast {
  hashes: readonly number[];
  overflow: boolean;
  promiscuous: boolean;
}

const noMulticast = (): VfMulticast => ({ hashes: [], overflow: false, promiscuous: false });

export class Filters {
  /** What RAR holds: pool, or FREE, and address. */
  private readonly pools: number[] = Array.from({ length: RAR_ENTRIES }, () => FREE);
  private readonly addresses: Mac[] = Array.from({ length: RAR_ENTRIES }, () => new Uint8Array(6));
  private readonly multicast = Array.from({ length: MAX_VFS }, noMulticast);

  constructor(private readonly registers: Registers<PfRegister>) {}

  /** All tables empty but for the PF's address; queues belong to pools; the switch forwards. */
  initialize(pfMac: Mac): void {
    const { registers } = this;
    for (let i = 0; i < RAR_ENTRIES; i++) this.setAddress(i, FREE, new Uint8Array(6));
    this.setAddress(0, PF_POOL, pfMac);
    for (let i = 0; i < MTA_WORDS; i++) registers.write(Pf.MTA(i), 0);
    for (let i = 0; i < UTA_WORDS; i++) registers.write(Pf.UTA(i), 0);
    for (let i = 0; i < VFTA_WORDS; i++) registers.write(Pf.VFTA(i), 0);
    for (let i = 0; i < VLVF_ENTRIES; i++) registers.write(Pf.VLVF(i), 0);
    for (let pool = 0; pool < POOLS; pool++) this.resetPool(pool);
    registers.write(Pf.RLPML, MAX_JUMBO_FRAME);
    registers.write(Pf.MRQC, MRQC_VMDQ);
    registers.write(Pf.VT_CTL, vtCtlDefaultPool(PF_POOL) | VT_CTL_REPLICATION_EN);
    registers.set(Pf.DTXCTL, DTXCTL_VLAN_ADDED);
    registers.set(Pf.RPLOLR, RPLOLR_STRVLAN);
    registers.write(Pf.QDE, 0xffff);
    registers.write(Pf.DTXSWC, DTXSWC_LOOPBACK_EN);
  }

  /** As before the VF asked for anything, and without an address. */
  resetVf(vf: number): void {
    this.clearAddresses(vf);
    this.setAddress(vfEntry(vf), FREE, new Uint8Array(6));
    this.multicast[vf] = noMulticast();
    this.writeMulticast();
    for (let i = 0; i < VLVF_ENTRIES; i++) this.removeFromVlan(i, vf);
    this.resetPool(vf);
  }

  /** The VF's own address. False: it is not one, or another function has it. */
  setVfAddress(vf: number, mac: Mac): boolean {
    if (!this.isFreeFor(vf, mac)) return false;
    this.setAddress(vfEntry(vf), vf, mac);
    return true;
  }

  /** One more address for the VF. False: not possible, or the table is full. */
  addAddress(vf: number, mac: Mac): boolean {
    if (!this.isFreeFor(vf, mac)) return false;
    const entry = this.pools.indexOf(FREE, 1);
    if (entry < 0 || entry > vfEntry(MAX_VFS)) return false;
    this.setAddress(entry, vf, mac);
    return true;
  }

  clearAddresses(vf: number): void {
    for (let i = 1; i <= vfEntry(MAX_VFS); i++) {
      if (this.pools[i] === vf) this.setAddress(i, FREE, new Uint8Array(6));
    }
  }

  setMulticast(vf: number, hashes: readonly number[], total: number): void {
    Object.assign(this.multicast[vf]!, { hashes, overflow: total > MAX_HASHES });
    this.writeMulticast();
  }

  setMulticastPromiscuous(vf: number, promiscuous: boolean): void {
    this.multicast[vf]!.promiscuous = promiscuous;
    this.writeMulticast();
  }

  /** False: no VLAN entry is left. */
  setVlan(vf: number, vlan: number, add: boolean): boolean {
    const entry = this.vlanEntry(vlan);
    if (!add) {
      if (entry !== undefined) this.removeFromVlan(entry, vf);
      return true;
    }
    const target = entry ?? this.freeVlanEntry();
    if (target === undefined) return false;
    const { registers } = this;
    registers.write(
      Pf.VLVF(target),
      registers.read(Pf.VLVF(target)) | VLVF_ENABLE | vlan | vlvfPool(vf),
    );
    registers.set(Pf.VFTA(vlan >> 5), 1 << (vlan & 31));
    return true;
  }

  /** `bytes` with FCS but without VLAN tag. False: longer than the MAC receives. */
  setMaxFrame(vf: number, bytes: number): boolean {
    if (bytes > MAX_JUMBO_FRAME) return false;
    const vmolr = this.registers.read(Pf.VMOLR(vf)) & ~VMOLR_RLPML_MASK;
    this.registers.write(Pf.VMOLR(vf), vmolr | (bytes + VLAN_TAG) | VMOLR_LPE);
    return true;
  }

  private resetPool(pool: number): void {
    const accept = VMOLR_BAM | VMOLR_AUPE | VMOLR_STRVLAN | VMOLR_STRCRC;
    this.registers.write(Pf.VMOLR(pool), accept | VMOLR_LPE | MAX_FRAME);
  }

  private setAddress(entry: number, pool: number, mac: Mac): void {
    this.pools[entry] = pool;
    this.addresses[entry] = mac;
    // An entry must not be valid while it holds half of an address.
    this.registers.write(Pf.RAH(entry), 0);
    this.registers.write(Pf.RAL(entry), macLow(mac));
    if (pool !== FREE) this.registers.write(Pf.RAH(entry), macHigh(mac) | rahPool(pool) | RAH_AV);
  }

  /** A VF must not draw away another function's frames. */
  private isFreeFor(vf: number, mac: Mac): boolean {
    if (!isUnicast(mac)) return false;
    return this.addresses.every((other, entry) => {
      const pool = this.pools[entry];
      return pool === FREE || pool === vf || !Buffer.from(other).equals(mac);
    });
  }

  private writeMulticast(): void {
    const table = new Uint32Array(MTA_WORDS);
    this.multicast.forEach(({ hashes, overflow, promiscuous }, vf) => {
      for (const hash of hashes) table[hash >> 5]! |= 1 << (hash & 31);
      const bits =
        (hashes.length > 0 ? VMOLR_ROMPE : 0) | (overflow || promiscuous ? VMOLR_MPME : 0);
      const vmolr = this.registers.read(Pf.VMOLR(vf)) & ~(VMOLR_ROMPE | VMOLR_MPME);
      this.registers.write(Pf.VMOLR(vf), vmolr | bits);
    });
    table.forEach((word, i) => {
      this.registers.write(Pf.MTA(i), word);
    });
  }

  private vlanEntry(vlan: number): number | undefined {
    return this.findVlan(
      (value) => (value & VLVF_ENABLE) !== 0 && (value & VLVF_VLAN_MASK) === vlan,
    );
  }

  private freeVlanEntry(): number | undefined {
    return this.findVlan((value) => (value & VLVF_ENABLE) === 0);
  }

  private findVlan(matches: (value: number) => boolean): number | undefined {
    for (let i = 0; i < VLVF_ENTRIES; i++) {
      if (matches(this.registers.read(Pf.VLVF(i)))) return i;
    }
    return undefined;
  }

  private removeFromVlan(entry: number, vf: number): void {
    const { registers } = this;
    const value = registers.read(Pf.VLVF(entry));
    if ((value & vlvfPool(vf)) === 0) return;
    const rest = value & ~vlvfPool(vf);
    if (rest & VLVF_POOLS_MASK) {
      registers.write(Pf.VLVF(entry), rest);
      return;
    }
    const vlan = value & VLVF_VLAN_MASK;
    registers.write(Pf.VLVF(entry), 0);
    registers.clear(Pf.VFTA(vlan >> 5), 1 << (vlan & 31));
  }
}
