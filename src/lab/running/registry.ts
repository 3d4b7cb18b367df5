import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { commandRecord } from '../commands/lab-command';
import { SLOTS } from '../guest/ports';
import { MONITOR_SOCKET } from '../machine/qemu';
import { removeVmDirectory, runtimeDirectory } from './directory';

/** A running VM of this user, whichever process started it. */
export interface RunningLab {
  readonly id: string;
  /** The process id of QEMU. */
  readonly pid: number;
  /** When it was ready for commands. */
  readonly started: Date;
  /** The kernel's release, or its file. */
  readonly kernel: string;
  readonly devices: readonly string[];
  /** What runs in it now. */
  readonly commands: readonly (readonly string[])[];
}

/** What is written down of a VM once it is ready. */
interface LabRecord {
  pid: number;
  /** Milliseconds since the epoch. */
  started: number;
  kernel: string;
  devices: readonly string[];
}

/** Milliseconds after which a directory without a record is not that of a VM about to start. */
const STARTING = 600_000;

const recordOf = (directory: string) => join(directory, 'lab.json');

export function writeRecord(directory: string, record: LabRecord): void {
  writeFileSync(recordOf(directory), JSON.stringify(record));
}

/** The VMs of this user, oldest first. What is left of those that were killed is removed. */
export async function listLabs(): Promise<RunningLab[]> {
  const root = runtimeDirectory();
  const found = await Promise.all(readdirSync(root).map((id) => look(id, join(root, id))));
  return found
    .filter((lab) => lab !== undefined)
    .sort((a, b) => a.started.getTime() - b.started.getTime());
}

/** A connection to the VM's spare monitor, or undefined if no QEMU is there. */
export async function connectMonitor(directory: string): Promise<Socket | undefined> {
  const socket = connect(join(directory, MONITOR_SOCKET));
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}

async function look(id: string, directory: string): Promise<RunningLab | undefined> {
  const record = parse<LabRecord>(recordOf(directory));
  const monitor = await connectMonitor(directory);
  monitor?.destroy();
  if (monitor === undefined) {
    if (record !== undefined || age(directory) > STARTING) removeVmDirectory(directory);
    return undefined;
  }
  if (record === undefined) return undefined;
  return { id, ...record, started: new Date(record.started), commands: commandsIn(directory) };
}

function commandsIn(directory: string): string[][] {
  return Array.from({ length: SLOTS }, (_, slot) => slot).flatMap((slot) => {
    const record = parse<{ pid: number; command: string[] }>(commandRecord(directory, slot));
    return record !== undefined && isRunning(record.pid) ? [record.command] : [];
  });
}

/** undefined where there is none, or it is just being written. */
function parse<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return undefined;
  }
}

function age(directory: string): number {
  const stat = statSync(directory, { throwIfNoEntry: false });
  return stat === undefined ? 0 : Date.now() - stat.mtimeMs;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
