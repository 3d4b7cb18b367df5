/** Ethernet addresses: six bytes, as text `52:54:00:12:34:56`, in registers and messages as two words. */
import { randomBytes } from 'node:crypto';

export type Mac = Uint8Array;

export const BROADCAST: Mac = new Uint8Array(6).fill(0xff);

/** The address, or undefined if the text is not one. */
export function parseMac(text: string): Mac | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}

export function formatMac(mac: Mac): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Bytes 0 to 3, as RAL and the mailbox hold them. */
export function macLow(mac: Mac): number {
  return (mac[0]! | (mac[1]! << 8) | (mac[2]! << 16) | (mac[3]! << 24)) >>> 0;
}

/** Bytes 4 and 5, as RAH and the mailbox hold them. */
export function macHigh(mac: Mac): number {
  return mac[4]! | (mac[5]! << 8);
}

export function macFromWords(low: number, high: number): Mac {
  return Uint8Array.of(low, low >>> 8, low >>> 16, low >>> 24, high, high >>> 8);
}

export function sameMac(a: Mac, b: Mac): boolean {
  return macLow(a) === macLow(b) && macHigh(a) === macHigh(b);
}

/** Neither a group address nor all zeros: an address that a function can have. */
export function isUnicast(mac: Mac): boolean {
  return (mac[0]! & 1) === 0 && mac.some((byte) => byte !== 0);
}

/** A random address of the locally administered, unicast kind. */
export function randomMac(): Mac {
  const mac = new Uint8Array(randomBytes(6));
  mac[0] = (mac[0]! & 0xfc) | 0x02;
  return mac;
}

/** The address of a VF: the same each time for one PF and index, and locally administered. */
export function vfMac(pfMac: Mac, vfIndex: number): Mac {
  const mac = Uint8Array.from(pfMac);
  // The index goes where vendors keep the OUI, so that VFs of neighbouring PFs stay apart.
  mac[0] = 0x02;
  mac[1] = 0x80 | vfIndex;
  mac[2] = pfMac[2]! ^ pfMac[0]!;
  return mac;
}
