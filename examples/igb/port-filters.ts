/** Which frames a port without VFs takes (7.1.2): by address, by VLAN, or all. */
import { DriverError } from './errors';
import { formatMac, isUnicast, type Mac, macHigh, macLow, sameMac } from './mac';
import {
  MTA_WORDS,
  Pf,
  type PfRegister,
  RAH_AV,
  RAR_ENTRIES,
  RCTL_MPE,
  RCTL_UPE,
  RCTL_VFE,
  type Registers,
  UTA_WORDS,
  VFTA_WORDS,
} from './registers';

/** What is taken besides the port's own frames and broadcast. */
export type Promiscuity = 'none' | 'multicast' | 'all';

const VLANS = 4096;

export class PortFilters {
  /** What RAR holds; the first is the port's own. */
  private readonly addresses: Mac[];

  constructor(
    private readonly registers: Registers<PfRegister>,
    own: Mac,
  ) {
    this.addresses = [own];
  }

  /** The own address only, of all VLANs. */
  initialize(): void {
    const { registers } = this;
    for (let i = 0; i < MTA_WORDS; i++) registers.write(Pf.MTA(i), 0);
    for (let i = 0; i < UTA_WORDS; i++) registers.write(Pf.UTA(i), 0);
    for (let i = 0; i < VFTA_WORDS; i++) registers.write(Pf.VFTA(i), 0);
    this.writeAddresses();
  }

  /** One more address to take frames for. @throws DriverError: it is not one, or the table is full */
  addAddress(mac: Mac): void {
    if (!isUnicast(mac)) {
      throw new DriverError(`${formatMac(mac)} is no address of a port`, 'it is a group address');
    }
    if (this.addresses.some((each) => sameMac(each, mac))) return;
    if (this.addresses.length === RAR_ENTRIES) {
      throw new DriverError(`the port has ${RAR_ENTRIES} addresses`, 'be promiscuous instead');
    }
    this.addresses.push(mac);
    this.writeAddresses();
  }

  /** Does nothing for an address that was not added; the own one stays. */
  removeAddress(mac: Mac): void {
    const index = this.addresses.findIndex((each, i) => i > 0 && sameMac(each, mac));
    if (index < 0) return;
    this.addresses.splice(index, 1);
    this.writeAddresses();
  }

  setPromiscuity(what: Promiscuity): void {
    const bits = { none: 0, multicast: RCTL_MPE, all: RCTL_MPE | RCTL_UPE }[what];
    const { registers } = this;
    registers.write(Pf.RCTL, (registers.read(Pf.RCTL) & ~(RCTL_MPE | RCTL_UPE)) | bits);
  }

  /** Take untagged frames and those of these VLANs; or, with 'all', of any. @throws DriverError */
  setVlans(vlans: readonly number[] | 'all'): void {
    const { registers } = this;
    if (vlans === 'all') {
      registers.clear(Pf.RCTL, RCTL_VFE);
      return;
    }
    const table = new Uint32Array(VFTA_WORDS);
    for (const vlan of vlans) {
      if (!(Number.isInteger(vlan) && vlan >= 0 && vlan < VLANS)) {
        throw new DriverError(`VLAN ${vlan}`, `0 to ${VLANS - 1}`);
      }
      table[vlan >> 5]! |= 1 << (vlan & 31);
    }
    table.forEach((word, i) => {
      registers.write(Pf.VFTA(i), word);
    });
    registers.set(Pf.RCTL, RCTL_VFE);
  }

  private writeAddresses(): void {
    const { registers } = this;
    for (let i = 0; i < RAR_ENTRIES; i++) {
      const mac = this.addresses[i];
      // An entry must not be valid while it holds half of an address.
      registers.write(Pf.RAH(i), 0);
      registers.write(Pf.RAL(i), mac ? macLow(mac) : 0);
      if (mac) registers.write(Pf.RAH(i), (macHigh(mac) | RAH_AV) >>> 0);
    }
  }
}
