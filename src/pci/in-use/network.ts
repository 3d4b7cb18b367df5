/** Interfaces of a device that the default route or this SSH session goes by. */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { SYS } from '../paths';
import { listDirectory, type PciDevice, readAttribute } from '../sysfs';
import { partsOf, type Use } from './parts';
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

/** The interface with the address that this SSH session came to. */
function sshInterface(): string | undefined {
  const address = process.env.SSH_CONNECTION?.split(' ')[2];
  if (address === undefined) return undefined;
  const has = (infos: { address: string }[] = []) => infos.some((info) => info.address === address);
  return Object.entries(networkInterfaces()).find(([, infos]) => has(infos))?.[0];
}

const IFF_UP = 1;

export function networkUses(device: PciDevice): Use[] {
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
