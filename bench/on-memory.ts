/**
 * What a row outside the VM costs with this library: `node on-memory.js ROW COUNT [RING-DEVICE]`
 * prints a number for each line that comes in. bench/c/native.c has the same in C. Registers are
 * ordinary memory here, behind the same Region that a BAR is.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Region } from '../src/device/region';
import {
  VFIO_REGION_INFO_FLAG_MMAP,
  VFIO_REGION_INFO_FLAG_READ,
  VFIO_REGION_INFO_FLAG_WRITE,
} from '../src/ioctl/abi/constants';
import {
  MEMORY_ANONYMOUS,
  MEMORY_FILE,
  native,
  PROT_READ,
  PROT_WRITE,
  type RegisterAccessors,
} from '../src/native';
import { bytesPerIo, bytesPerPacket } from './allocation';
import { answer, type Measurement } from './answer';
import { clockCost } from './clock';
import { median } from './statistics';

const PAGE = 4096;

/** As bench/c/ring.h has them. */
const ENTRIES = 512;
const BURST = 32;
const DESCRIPTOR_WORDS = 4;
const RING_BYTES = PAGE + ENTRIES * DESCRIPTOR_WORDS * 4;
const TAIL = 0;
const STOP = 4;

function regionOn(fd: number, size: number): Region {
  const flags =
    VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  return new Region('memory', fd, 'bar0', { index: 0, flags, size, offset: 0, capabilities: [] });
}

/** ns each. */
function each(count: number, operation: (i: number) => void): number {
  const start = performance.now();
  for (let i = 0; i < count; i++) operation(i);
  return ((performance.now() - start) / count) * 1e6;
}

/** What a call costs that does nothing: that of an accessor's `close` once it is closed. */
function call(count: number): () => number {
  const range = native.rangeReserve(PAGE, PAGE);
  native.rangeMap(range, 0, PAGE, MEMORY_ANONYMOUS, PROT_READ, -1, 0);
  const accessors = native.rangeRegisters(range, 0, PAGE) as RegisterAccessors;
  return () => each(count, () => accessors.close());
}

function read32(count: number): () => number {
  const region = regionOn(native.memfdCreate(PAGE, 0), PAGE);
  return () => each(count, () => region.read32(0));
}

function write32(count: number): () => number {
  const region = regionOn(native.memfdCreate(PAGE, 0), PAGE);
  return () => each(count, (i) => region.write32(0, i));
}

/** us, the median, from the write to the listener. */
async function interrupt(count: number): Promise<number> {
  const times = new Float64Array(count);
  let done = 0;
  let start = 0;
  let fd = -1;
  await new Promise<void>((resolve) => {
    const raise = () => {
      start = performance.now();
      native.eventfdWrite(fd, 1);
    };
    fd = native.eventfdOpen(() => {
      times[done++] = (performance.now() - start) * 1e3;
      if (done < count) raise();
      else resolve();
    });
    raise();
  });
  native.eventfdClose(fd);
  return median(times) - clockCost();
}

const ORDERED = process.arch === 'x64';

/** Take received packets and give them back to be sent, a burst at a time. Returns how many. */
function forwardBurst(words: Uint32Array, head: number): number {
  let at = (head & (ENTRIES - 1)) * DESCRIPTOR_WORDS;
  // As in examples/igb/rx-queue.ts: once this is read atomically, what is read after it is as fresh.
  let done = Atomics.load(words, at + 3);
  let burst = 0;
  while (done !== 0) {
    const length = words[at + 2]!;
    words[at] = head + burst;
    words[at + 2] = length;
    words[at + 3] = 0;
    burst++;
    if (burst === BURST) break;
    at = ((head + burst) & (ENTRIES - 1)) * DESCRIPTOR_WORDS;
    done = ORDERED ? words[at + 3]! : Atomics.load(words, at + 3);
  }
  return burst;
}

function forwardAll(words: Uint32Array, region: Region, head: number, count: number): number {
  let done = 0;
  let next = head;
  while (done < count) {
    const burst = forwardBurst(words, next);
    if (burst === 0) continue;
    next += burst;
    done += burst;
    region.write32(TAIL, next);
  }
  return next;
}

/** ns a packet. */
async function forward(count: number, program: string): Promise<number> {
  const fd = native.memfdCreate(RING_BYTES, 0);
  const region = regionOn(fd, PAGE);
  const range = native.rangeReserve(RING_BYTES, PAGE);
  native.rangeMap(range, 0, RING_BYTES, MEMORY_FILE, PROT_READ | PROT_WRITE, fd, 0);
  const memory = native.rangeBuffer(range, PAGE, RING_BYTES - PAGE) as ArrayBuffer;
  const words = new Uint32Array(memory);
  const device = spawn(program, [`/proc/${process.pid}/fd/${fd}`], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const next = forwardAll(words, region, 0, ENTRIES);
  const start = performance.now();
  forwardAll(words, region, next, count);
  const value = ((performance.now() - start) / count) * 1e6;
  region.write32(STOP, 1);
  await once(device, 'exit');
  region.close();
  native.rangeRelease(range);
  native.close(fd);
  return value;
}

type Row = (count: number, program: string) => Measurement;

const rows: Readonly<Record<string, Row>> = {
  'native-call': (count) => ({ measure: call(count) }),
  'native-read32': (count) => ({ measure: read32(count) }),
  'native-write32': (count) => ({ measure: write32(count) }),
  'native-irq-p50': (count) => ({ measure: () => interrupt(count) }),
  'native-ring-forward': (count, program) => ({ measure: () => forward(count, program) }),
  'alloc-bytes-per-packet': (count) => ({ measure: () => bytesPerPacket(count) }),
  'alloc-bytes-per-io': (count) => ({ measure: () => bytesPerIo(count) }),
};

async function main([row = '', count = '', program = '']: string[]): Promise<void> {
  const prepare = rows[row];
  if (!prepare) throw new Error(`no row ${JSON.stringify(row)}: ${Object.keys(rows).join(', ')}`);
  await answer(prepare(Number(count), program));
}

void main(process.argv.slice(2));
