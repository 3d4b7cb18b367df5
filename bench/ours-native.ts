/** Our side of the rows on ordinary memory: `node ours-native.js ROW` prints ns. */
import { constants, ftruncateSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { Region } from '../src/device/region';
import { native } from '../src/native';

const BYTES = 4096;
const MASK = BYTES - 4;
const ROUNDS = 5_000_000;
const EVENTS = 2000;

function registers(): Region {
  const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
  const fd = native.open('/dev/shm', O_TMPFILE | constants.O_RDWR);
  ftruncateSync(fd, BYTES);
  const info = { index: 0, flags: 7, size: BYTES, offset: 0, capabilities: [] };
  return new Region('memory', fd, 'bar0', info);
}

function read(region: Region): number {
  let sum = 0;
  for (let i = 0; i < ROUNDS; i++) sum += region.read32((i * 4) & MASK);
  return sum;
}

function write(region: Region): void {
  for (let i = 0; i < ROUNDS; i++) region.write32((i * 4) & MASK, i);
}

function nsEach(measure: (region: Region) => unknown): number {
  const region = registers();
  measure(region); // compiled from here on
  const start = process.hrtime.bigint();
  measure(region);
  const ns = Number(process.hrtime.bigint() - start) / ROUNDS;
  region.close();
  return ns;
}

/** Writes the eventfd as an interrupt does: at a moment that the reader does not know. */
const SENDER = `
const { workerData } = require('node:worker_threads');
const { writeSync } = require('node:fs');
const { fd, shared, events } = workerData;
const sent = new BigInt64Array(shared, 0, 1);
const wait = new Int32Array(shared, 8, 1);
const one = new Uint8Array(8);
one[0] = 1;
for (let i = 0; i < events; i++) {
  Atomics.wait(wait, 0, 0, 0.5);
  Atomics.store(sent, 0, process.hrtime.bigint());
  writeSync(fd, one);
}`;

function interruptP50(): Promise<number> {
  const shared = new SharedArrayBuffer(16);
  const sent = new BigInt64Array(shared, 0, 1);
  const times: number[] = [];
  return new Promise((resolve) => {
    const fd = native.eventfdOpen(() => {
      times.push(Number(process.hrtime.bigint() - Atomics.load(sent, 0)));
      if (times.length < EVENTS - 1) return;
      native.eventfdClose(fd);
      resolve(times.sort((a, b) => a - b)[times.length >> 1]!);
    });
    // Two events that fall together are one call; a few more make up for them.
    const workerData = { fd, shared, events: EVENTS * 1.1 };
    const worker = new Worker(SENDER, { eval: true, workerData });
    worker.on('error', () => {}); // the eventfd is closed under it at the end
  });
}

async function main(row: string): Promise<void> {
  if (row === 'native-read32') console.log(nsEach(read));
  else if (row === 'native-write32') console.log(nsEach(write));
  else if (row === 'native-irq-p50') console.log(await interruptP50());
  else throw new Error(`no row ${row}`);
}

void main(process.argv[2] ?? '');
