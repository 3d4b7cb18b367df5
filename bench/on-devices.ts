/// <reference path="../test/webassembly.d.ts" />
/**
 * What a row of the lab costs with this library: `node on-devices.js ROW BDF[,BDF] COUNT` prints a number for
 * each line that comes in. bench/c/ has the same in C.
 */
import { type Device, openDevice } from 'vfio';
import { NvmeDriver } from '../examples/nvme/driver';
import { RandomIo } from '../examples/nvme/random-io';
import { answer, type Measurement } from './answer';
import { clockCost } from './clock';
import { forwardGcPause, forwardRate, transmitRate } from './igb';
import { rate } from './rate';
import { median } from './statistics';

type Awaitable<T> = T | Promise<T>;

const PAGE = 4096;
const LIVENESS = 0x04;
const RAISE = 0x60;
const ACKNOWLEDGE = 0x64;

/** ns each. */
function each(count: number, operation: (i: number) => void): number {
  const start = performance.now();
  for (let i = 0; i < count; i++) operation(i);
  return ((performance.now() - start) / count) * 1e6;
}

function configRead(device: Device, count: number): number {
  const { config } = device;
  return each(count, () => config.read32(0));
}

function barRead(device: Device, count: number): number {
  const bar = device.region('bar0');
  return each(count, () => bar.read32(0));
}

function barWrite(device: Device, count: number): number {
  const bar = device.region('bar0');
  return each(count, (i) => bar.write32(LIVENESS, i));
}

function page(): Uint8Array<SharedArrayBuffer> {
  // The one SharedArrayBuffer that is page-aligned.
  const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  return new Uint8Array(buffer, 0, PAGE);
}

/** us, of a mapping that is there already, as that of C has its address and its memory already. */
async function mapUnmap({ dma }: Device, count: number): Promise<() => number> {
  const mapping = await dma.map(page());
  return () =>
    each(count, () => {
      mapping.suspend();
      mapping.resume();
    }) / 1e3;
}

/** us, with an address found, promises, and all that is kept of a mapping. */
async function mapClose({ dma }: Device, count: number): Promise<number> {
  const memory = page();
  const start = performance.now();
  for (let i = 0; i < count; i++) await (await dma.map(memory)).close();
  return ((performance.now() - start) / count) * 1e3;
}

/** us, the median, from the write that raises the interrupt to the listener. */
async function interrupt(device: Device, count: number): Promise<number> {
  const bar = device.region('bar0');
  const msi = device.irq('msi');
  device.enableBusMaster();
  await msi.enable();
  const times = new Float64Array(count);
  await new Promise<void>((resolve) => {
    let done = 0;
    let start = 0;
    const raise = () => {
      start = performance.now();
      bar.write32(RAISE, 1);
    };
    const off = msi.on(() => {
      times[done++] = (performance.now() - start) * 1e3;
      bar.write32(ACKNOWLEDGE, 1);
      if (done < count) return raise();
      off();
      resolve();
    });
    raise();
  });
  await msi.disable();
  return median(times) - clockCost();
}

async function openClose(bdf: string, count: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < count; i++) await (await openDevice(bdf)).close();
  return ((performance.now() - start) / count) * 1e3;
}

/** I/O operations a second. */
async function randomReads(bdf: string, depth: number, count: number): Promise<Measurement> {
  const driver = await NvmeDriver.open(bdf, { completion: 'polling' });
  const buffers = [];
  for (let i = 0; i < depth; i++) buffers.push(await driver.allocate(PAGE));
  const io = new RandomIo({
    queue: driver.queues[0]!,
    pointers: buffers.map(({ pointer }) => pointer),
    write: false,
    blocks: PAGE / driver.namespace.blockBytes,
    span: Math.min(Number(driver.namespace.size), 2 ** 24),
  });
  return { measure: () => rate(count, (n) => io.run(n)), end: () => driver.close() };
}

type Row = (bdf: string, count: number) => Promise<Measurement>;

/** `prepare` on a device, which stays open. */
function onEdu(
  prepare: (device: Device, count: number) => Awaitable<() => Awaitable<number>>,
): Row {
  return async (bdf, count) => {
    const device = await openDevice(bdf);
    return { measure: await prepare(device, count), end: () => device.close() };
  };
}

function twoOf(bdfs: string): [string, string] {
  const [a, b] = bdfs.split(',');
  if (a === undefined || b === undefined) throw new Error(`not two addresses: ${bdfs}`);
  return [a, b];
}

const rows: Readonly<Record<string, Row>> = {
  'nvme-randread-4k-qd1': (bdf, count) => randomReads(bdf, 1, count),
  'nvme-randread-4k-qd32': (bdf, count) => randomReads(bdf, 32, count),
  'igb-tx-64b-burst32': transmitRate,
  'igb-forward-64b-burst32': (bdfs, count) => forwardRate(twoOf(bdfs), count),
  'igb-forward-gc-pause-10s': (bdfs, seconds) => forwardGcPause(twoOf(bdfs), seconds),
  'config-read32': onEdu((device, count) => () => configRead(device, count)),
  'bar-read32': onEdu((device, count) => () => barRead(device, count)),
  'bar-write32': onEdu((device, count) => () => barWrite(device, count)),
  'map-unmap-4k': onEdu(mapUnmap),
  'map-close-4k': onEdu((device, count) => () => mapClose(device, count)),
  'irq-async-p50': onEdu((device, count) => () => interrupt(device, count)),
  'open-close': async (bdf, count) => ({ measure: () => openClose(bdf, count) }),
};

async function main([row = '', bdf = '', count = '']: string[]): Promise<void> {
  const prepare = rows[row];
  if (!prepare) throw new Error(`no row ${JSON.stringify(row)}: ${Object.keys(rows).join(', ')}`);
  await answer(await prepare(bdf, Number(count)));
}

void main(process.argv.slice(2));
