/** Names of vendors, devices and classes, from the system's pci.ids (https://pci-ids.ucw.cz). */
import { printable } from '../printable';
import { PCI_IDS } from './paths';
import { readStart } from './sysfs';

/** The file had 1.5 MB in 2024. */
const MAX_SIZE = 16 << 20;

export interface PciNames {
  vendor(vendor: number): string | undefined;
  device(vendor: number, device: number): string | undefined;
  /** Of the closest there is: programming interface, sub-class, base class. Takes all 24 bits. */
  class(classCode: number): string | undefined;
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

/** `8086`, `8086 10c9`, `C 02`, `C 02 00`, `C 0c 03 30`: the lines' own ids, below their parents'. */
function parse(text: string): Map<string, string> {
  const names = new Map<string, string>();
  let parents: string[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\t{0,2})(C )?([0-9a-f]{2,4}) {2}(\S.*)$/.exec(line);
    if (!match) continue;
    const [, { length: depth } = '', kind = '', id = '', name = ''] = match;
    parents = [...parents.slice(0, depth), `${kind}${id}`];
    names.set(parents.join(' '), printable(name.trim()));
  }
  return names;
}

function load(): Map<string, string> {
  for (const path of PCI_IDS) {
    try {
      return parse(readStart(path, MAX_SIZE).toString('utf8'));
    } catch {
      // The next place; without any, ids have to do.
    }
  }
  return new Map();
}

/** Reads the file; where there is none, nothing has a name. */
export function readPciNames(): PciNames {
  const names = load();
  return {
    vendor: (vendor) => names.get(hex(vendor, 4)),
    device: (vendor, device) => names.get(`${hex(vendor, 4)} ${hex(device, 4)}`),
    class: (classCode) => {
      const digits = hex(classCode, 6);
      const ids = [digits.slice(0, 2), digits.slice(2, 4), digits.slice(4)];
      const found = [3, 2, 1].map((count) => names.get(`C ${ids.slice(0, count).join(' ')}`));
      return found.find((name) => name !== undefined);
    },
  };
}
