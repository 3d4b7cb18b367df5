/** Where the SSH session comes in that this process is part of. */
import { networkInterfaces } from 'node:os';

/** Interfaces with the address that the session came to. */
export function sshInterfaces(): Set<string> {
  const address = process.env.SSH_CONNECTION?.split(' ')[2];
  if (address === undefined) return new Set();
  const has = (infos: { address: string }[] = []) => infos.some((info) => info.address === address);
  const all = Object.entries(networkInterfaces());
  return new Set(all.filter(([, infos]) => has(infos)).map(([name]) => name));
}
