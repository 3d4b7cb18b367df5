/** Where the SSH session comes in that this process is part of. */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { fileText } from '../kernel-files';
import { PROC } from '../paths';

const text = (pid: number, file: string) => fileText(join(PROC, String(pid), file)) ?? '';

/** `CLIENT PORT SERVER PORT`: of this process or, as sudo takes it away, of the nearest that has it. */
function sshConnection(): string | undefined {
  if (process.env.SSH_CONNECTION) return process.env.SSH_CONNECTION;
  for (let pid = process.ppid; pid > 1; ) {
    const found = /(?:^|\0)SSH_CONNECTION=([^\0]+)/.exec(text(pid, 'environ'))?.[1];
    if (found !== undefined) return found;
    pid = Number(/^PPid:\s*(\d+)/m.exec(text(pid, 'status'))?.[1] ?? 0);
  }
  return undefined;
}

/** sshd writes `fe80::1%eth0`, and `::ffff:192.0.2.7` for IPv4 on a socket of IPv6. */
const plain = (address: string) => address.replace(/%.*$/, '').replace(/^::ffff:(?=.*\.)/i, '');

/** Interfaces with the address that the session came to. */
export function sshInterfaces(): Set<string> {
  const server = sshConnection()?.split(' ')[2];
  if (server === undefined) return new Set();
  const address = plain(server);
  const all = Object.entries(networkInterfaces());
  const has = (infos: { address: string }[] = []) =>
    infos.some((info) => plain(info.address) === address);
  return new Set(all.filter(([, infos]) => has(infos)).map(([name]) => name));
}
