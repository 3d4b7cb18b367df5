/** The virtio-serial ports between guest and host, as both sides name them. */
import { join } from 'node:path';

/** How many commands a guest can run at a time; each has a slot with ports of its own. */
export const SLOTS = 6;

/**
 * - `control`: host to guest `hello`, `run`, `signal`, `resize`, `kill`, a line each; guest to host
 *   `ready`, `started`, `refused`, `exit STATUS`
 * - `stdin`, `stdout`, `stderr`: a stream each
 */
export const CHANNELS = ['control', 'stdin', 'stdout', 'stderr'] as const;
export type Channel = (typeof CHANNELS)[number];

export function portName(slot: number, channel: Channel): string {
  return `vfio.${slot}.${channel}`;
}

/** The socket of QEMU's that a port is connected to, in the VM's directory. */
export function portSocket(directory: string, slot: number, channel: Channel): string {
  return join(directory, `${slot}.${channel}`);
}
