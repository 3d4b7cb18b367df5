/** How much memory may be pinned: RLIMIT_MEMLOCK, and who is above it. */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { VfioError } from '../errors';
import { hints } from '../hints';

const CAP_IPC_LOCK = 14n;

export interface Memlock {
  /** Bytes; Infinity for `unlimited`, and for a process with CAP_IPC_LOCK, whom it does not bind. */
  readonly limit: number;
  /** Bytes of this process that count against it now. */
  readonly locked: number;
}

/**
 * Whose pinned memory the kernel holds against the limit: the process' together with what it locks, or
 * that of all processes of the user.
 */
export type MemlockAccounting = 'user' | 'process';

/** A process is rarely bound later than it is at first, and this saves reading /proc per mapping. */
let unbound: boolean | undefined;

/** Whether `size` more bytes may be pinned; the numbers if not. */
function memlockRefusal(size: number, accounting: MemlockAccounting): Memlock | undefined {
  if (unbound) return undefined;
  const memlock = readMemlock(accounting);
  // The kernel knows the limit, whether or not it can be read.
  if (!memlock) return undefined;
  unbound = memlock.limit === Number.POSITIVE_INFINITY;
  return memlock.locked + size <= memlock.limit ? undefined : memlock;
}

/** Undefined where /proc is not there, or not that of this process. */
export function readMemlock(accounting: MemlockAccounting): Memlock | undefined {
  const limits = readProc('limits');
  const status = readProc('status');
  if (limits === undefined || status === undefined) return undefined;
  const soft = /^Max locked memory\s+(\S+)/m.exec(limits)?.[1] ?? 'unlimited';
  const capabilities = BigInt(`0x${/^CapEff:\s+([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  const bound = soft !== 'unlimited' && ((capabilities >> CAP_IPC_LOCK) & 1n) === 0n;
  const kilobytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
  return {
    limit: bound ? Number(soft) : Number.POSITIVE_INFINITY,
    // Of the user's other processes, /proc does not tell. iommufd notes all that it pins in VmPin, and
    // what counts against the process in VmLck besides.
    locked: 1024 * kilobytes(accounting === 'process' ? 'VmLck' : 'VmPin'),
  };
}

function readProc(name: string): string | undefined {
  try {
    return readFileSync(`/proc/self/${name}`, 'utf8');
  } catch {
    return undefined;
  }
}

/** Refuse what cannot be pinned before any of it is. @throws ENOMEM */
export function assertMemlock(size: number, accounting: MemlockAccounting): void {
  const refusal = memlockRefusal(size, accounting);
  if (!refusal) return;
  throw new VfioError('ENOMEM', `${size} more bytes are over the limit of locked memory`, {
    errno: constants.errno.ENOMEM,
    hint: hints.memlock(size, refusal.locked, refusal.limit),
  });
}
