/** What the addon's tests share: memory files, a look at the process, workers and child processes. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { constants, ftruncateSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { resolve } from 'node-gyp-build';
import { type NativeAccessors, native } from '../../src/native';

export const PAGE = native.pageSize;
export const { errno } = os;

/** The addon's file, for workers and child processes. */
export const addonPath = process.env.VFIO_ADDON ?? resolve(join(__dirname, '../..'));

/** A file without a name, in memory, that the addon owns; zeros. */
export function memoryFile(length: number): number {
  const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
  const fd = native.open('/dev/shm', O_TMPFILE | constants.O_RDWR);
  if (fd < 0) throw new Error(`no memory file in /dev/shm: ${fd}`);
  ftruncateSync(fd, length);
  return fd;
}

/** A range of `pages` pages with memory of the given kind behind all of it. */
export function mappedRange(pages: number, memory: number, fd = -1, protection = 3): number {
  const range = native.rangeReserve(pages * PAGE, PAGE);
  expect(native.rangeMap(range, 0, pages * PAGE, memory, protection, fd, 0)).toBe(0);
  return range;
}

/** The object of a call that gives one or -errno. */
export function given<T extends object>(result: T | number): T {
  if (typeof result === 'number') throw new Error(`-errno ${result}`);
  return result;
}

export function registers(range: number, offset: number, length: number): NativeAccessors {
  return given(native.rangeRegisters(range, offset, length));
}

export function buffer(range: number, offset: number, length: number): ArrayBuffer {
  return given(native.rangeBuffer(range, offset, length));
}

export function address(range: number): bigint {
  const result = native.rangeAddress(range);
  if (typeof result === 'number') throw new Error(`-errno ${result}`);
  return result;
}

/** What the open descriptors refer to, by number. */
export function openFiles(): Map<number, string> {
  const files = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      files.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // the directory's own descriptor, closed by now
    }
  }
  return files;
}

/** File status flags of an open descriptor, from /proc/self/fdinfo. */
export function statusFlags(fd: number): number {
  const [, flags] = /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? [];
  return Number.parseInt(flags ?? '', 8);
}

/** The line of /proc/self/smaps that describes the mapping at an address, and its VmFlags. */
export function mappingAt(at: bigint): { line: string; flags: string[] } | undefined {
  let line: string | undefined;
  for (const text of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const header = /^([0-9a-f]+)-([0-9a-f]+) /.exec(text);
    if (header) line = at >= hex(header[1]) && at < hex(header[2]) ? text : undefined;
    else if (line !== undefined && text.startsWith('VmFlags:')) {
      return { line, flags: text.slice(8).trim().split(' ') };
    }
  }
  return undefined;
}

const hex = (digits: string | undefined) => BigInt(`0x${digits}`);

/** Waits until `condition` holds; the test's own time limit ends it otherwise. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 5));
}

/** Starts `fixtures/<name>` as a worker. */
export function startWorker(name: string, data: object = {}): Worker {
  return new Worker(join(__dirname, 'fixtures', name), { workerData: { addonPath, ...data } });
}

/** The next message of a worker; an error of the worker is thrown. */
export function message<T>(worker: Worker): Promise<T> {
  return new Promise((done, fail) => {
    worker.once('message', done);
    worker.once('error', fail);
  });
}

/** Runs `fixtures/<name>` in a process of its own: for what ends a process, or needs flags. */
export function runChild(
  name: string,
  args: string[] = [],
  flags: string[] = [],
): SpawnSyncReturns<string> {
  return spawnSync(
    process.execPath,
    [...flags, join(__dirname, 'fixtures', name), addonPath, ...args],
    { encoding: 'utf8', timeout: 120_000 },
  );
}
