/** What the running system would lose with a device: disks, network, displays. */
import { realpathSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { printable } from '../printable';
import { PROC, SYS } from './paths';
import { listDirectory, type PciDevice, readAttribute, readStart } from './sysfs';

export interface Use {
  readonly kind: 'mount' | 'swap' | 'route' | 'ssh' | 'display';
  /** The part of the device: `nvme0n1p2`, `eth0`, `card0`. */
  readonly name: string;
  /** A whole sentence's end: `nvme0n1p2 is mounted on /`. */
  readonly text: string;
}

const MAX_TABLE = 4 << 20;

/** Empty where there is nothing, an unreadable table included: the kernel has none of its kind then. */
function tableRows(path: string): string[][] {
  try {
    const text = readStart(join(PROC, path), MAX_TABLE).toString('latin1');
    return text.split('\n').map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** Members of a class (`block`, `net`, `drm`) that are part of the device. */
function partsOf(device: PciDevice, kind: string): string[] {
  const own = `${realPath(device.path)}/`;
  const directory = join(SYS, 'class', kind);
  return listDirectory(directory).filter((name) =>
    realPath(join(directory, name))?.startsWith(own),
  );
}

/** A disk, its partitions, and the device mapper and RAID devices on them. */
function blockDevices(device: PciDevice): string[] {
  const found = new Set<string>();
  const add = (name: string) => {
    if (found.has(name)) return;
    found.add(name);
    listDirectory(join(SYS, 'class/block', name, 'holders')).forEach(add);
  };
  partsOf(device, 'block').forEach(add);
  return [...found];
}

/** `nvme0n1p2 is mounted on /`: proc(5), mountinfo, fields 3, 5 and, after the dash, the source. */
function diskUses(device: PciDevice): Use[] {
  const disks = blockDevices(device);
  if (disks.length === 0) return [];
  const byNumber = new Map(
    disks.map((name) => [readAttribute(join(SYS, 'class/block', name, 'dev')), name]),
  );
  const diskOf = (source: string | undefined) => disks.find((name) => source === `/dev/${name}`);
  const mounts = tableRows('self/mountinfo').flatMap((fields): Use[] => {
    const name = byNumber.get(fields[2]) ?? diskOf(fields[fields.indexOf('-') + 2]);
    if (name === undefined) return [];
    return [{ kind: 'mount', name, text: `${name} is mounted on ${printable(fields[4] ?? '?')}` }];
  });
  const swaps = tableRows('swaps').flatMap(([file]): Use[] => {
    const name = diskOf(realPath(file ?? '')) ?? diskOf(file);
    return name === undefined ? [] : [{ kind: 'swap', name, text: `${name} is swap space` }];
  });
  return [...mounts, ...swaps];
}

/** Interfaces of IPv4's and IPv6's default routes. */
function defaultRoutes(): Set<string> {
  const v4 = tableRows('net/route').filter((row) => row[1] === '00000000' && row[7] === '00000000');
  const v6 = tableRows('net/ipv6_route').filter(
    (row) => row[1] === '00' && /^0+$/.test(row[0] ?? ''),
  );
  return new Set(
    [...v4.map(([name]) => name!), ...v6.map((row) => row[9]!)].filter((n) => n !== 'lo'),
  );
}

/** The interface with the address that this SSH session came to. */
function sshInterface(): string | undefined {
  const address = process.env.SSH_CONNECTION?.split(' ')[2];
  if (address === undefined) return undefined;
  const has = (infos: { address: string }[] = []) => infos.some((info) => info.address === address);
  return Object.entries(networkInterfaces()).find(([, infos]) => has(infos))?.[0];
}

const IFF_UP = 1;

function networkUses(device: PciDevice): Use[] {
  const [routes, ssh] = [defaultRoutes(), sshInterface()];
  return partsOf(device, 'net').flatMap((name): Use[] => {
    const path = join(SYS, 'class/net', name);
    if ((Number(readAttribute(join(path, 'flags'))) & IFF_UP) === 0) return [];
    // An address may be that of the bridge or bond it is part of, or of a VLAN on it.
    const uppers = listDirectory(path).filter((entry) => entry.startsWith('upper_'));
    const carriers = [name, ...uppers.map((entry) => entry.slice('upper_'.length))];
    return carriers.flatMap((carrier): Use[] => {
      const which = carrier === name ? name : `${name} (part of ${carrier})`;
      const uses: Use[] = [];
      if (routes.has(carrier))
        uses.push({ kind: 'route', name, text: `${which} has the default route` });
      if (ssh === carrier)
        uses.push({ kind: 'ssh', name, text: `${which} carries this SSH session` });
      return uses;
    });
  });
}

/** `card0-HDMI-A-1` of DRM is a connector; one that is enabled shows a picture. */
function displayUses(device: PciDevice): Use[] {
  const parts = partsOf(device, 'drm');
  const lit = parts.filter(
    (name) => readAttribute(join(SYS, 'class/drm', name, 'enabled')) === 'enabled',
  );
  if (lit.length > 0) {
    return lit.map((name) => ({ kind: 'display', name, text: `${name} shows a picture` }));
  }
  const boot = readAttribute(join(device.path, 'boot_vga')) === '1' && device.driver !== undefined;
  if (!boot || device.driver?.startsWith('vfio')) return [];
  return [
    { kind: 'display', name: device.bdf, text: 'it is the display that the machine booted with' },
  ];
}

/** Why the system needs a device; empty if it does not, as far as can be seen. */
export function usesOf(device: PciDevice): Use[] {
  return [...diskUses(device), ...networkUses(device), ...displayUses(device)];
}
