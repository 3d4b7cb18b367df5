/** Interfaces of a device that the default route or this SSH session goes by. */
import { join } from 'node:path';
import { SYS } from '../paths';
import { listDirectory, type PciDevice, readAttribute } from '../sysfs';
import { partsOf, type Use } from './parts';
import { sshInterfaces } from './ssh';
import { tableRows } from './tables';

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
  const [routes, ssh] = [defaultRoutes(), sshInterfaces()];
  return partsOf(device, 'net').flatMap((name): Use[] => {
    const flags = Number(readAttribute(join(SYS, 'class/net', name, 'flags')));
    if ((flags & IFF_UP) === 0) return [];
    return [...carriersOf(name)].flatMap((carrier): Use[] => {
      const which = carrier === name ? name : `${name} (part of ${carrier})`;
      const uses: Use[] = [];
      if (routes.has(carrier))
        uses.push({ kind: 'route', name, text: `${which} has the default route` });
      if (ssh.has(carrier))
        uses.push({ kind: 'ssh', name, text: `${which} carries this SSH session` });
      return uses;
    });
  });
}
