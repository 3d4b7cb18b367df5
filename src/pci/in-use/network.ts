/** Interfaces of a device that routes, packet sockets or this SSH session need. */
import { join } from 'node:path';
import { SYS } from '../paths';
import { listDirectory, type PciDevice, readAttribute } from '../sysfs';
import { partsOf, type Use } from './parts';
import { sshInterfaces } from './ssh';
import { tableRows } from './tables';

/** linux/route.h: a route that says there is none. */
const RTF_REJECT = 0x0200;

interface Route {
  readonly carrier: string;
  /** `the default route`, `a route`. */
  readonly what: string;
}

/** A mask of 0 bits, or the prefix length. */
const whatOf = (isDefault: boolean) => (isDefault ? 'the default route' : 'a route');

/**
 * Routes of IPv4 and IPv6. Those that every IPv6 interface has from its first moment, link-local and
 * multicast, lead to nobody yet.
 */
function routes(): Route[] {
  const v4 = tableRows('net/route').flatMap(([carrier, to, , flags, , , , mask]) =>
    carrier === undefined || !/^[0-9A-F]{8}$/i.test(mask ?? '') || isReject(flags)
      ? []
      : [{ carrier, what: whatOf(to === '00000000' && mask === '00000000') }],
  );
  const v6 = tableRows('net/ipv6_route').flatMap(([to = '', bits, , , , , , , flags, carrier]) =>
    carrier === undefined || /^(fe[89ab]|ff)/i.test(to) || isReject(flags)
      ? []
      : [{ carrier, what: whatOf(bits === '00' && /^0+$/.test(to)) }],
  );
  return [...v4, ...v6].filter(({ carrier }) => carrier !== 'lo');
}

const isReject = (flags = '0') => (Number.parseInt(flags, 16) & RTF_REJECT) !== 0;

/** Indices of interfaces that a packet socket is bound to (packet(7)): captures, DHCP, LLDP. */
function packetSockets(): Set<string> {
  // sk RefCnt Type Proto Iface R Rmem User Inode; 0 is all interfaces.
  const rows = tableRows('net/packet').filter((row) => /^\d+$/.test(row[4] ?? ''));
  return new Set(rows.map((row) => row[4]!).filter((index) => index !== '0'));
}

const IFF_UP = 1;

/** The interface itself and all above it: of a port, its bond, the bridge on the bond, a VLAN on that. */
function carriersOf(name: string, found = new Set([name])): Set<string> {
  for (const entry of listDirectory(join(SYS, 'class/net', name))) {
    const upper = /^upper_(.+)/.exec(entry)?.[1];
    if (upper === undefined || found.has(upper)) continue;
    carriersOf(upper, found.add(upper));
  }
  return found;
}

export function networkUses(device: PciDevice): Use[] {
  const [all, ssh, sockets] = [routes(), sshInterfaces(), packetSockets()];
  return partsOf(device, 'net').flatMap((name): Use[] => {
    const attribute = (file: string) => readAttribute(join(SYS, 'class/net', name, file));
    if ((Number(attribute('flags')) & IFF_UP) === 0) return [];
    const uses = [...carriersOf(name)].flatMap((carrier): Use[] => {
      const which = carrier === name ? name : `${name} (part of ${carrier})`;
      const has = new Set(all.filter((route) => route.carrier === carrier).map(({ what }) => what));
      // The default route says enough.
      if (has.size > 1) has.delete(whatOf(false));
      return [
        ...[...has].map((what): Use => ({ kind: 'route', name, text: `${which} has ${what}` })),
        ...(ssh.has(carrier)
          ? [{ kind: 'ssh', name, text: `${which} carries this SSH session` } as const]
          : []),
      ];
    });
    if (!sockets.has(attribute('ifindex') ?? '')) return uses;
    return [...uses, { kind: 'socket', name, text: `${name} has a packet socket of a program` }];
  });
}
