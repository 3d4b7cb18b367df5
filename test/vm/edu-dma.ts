/** edu's DMA engine (docs/specs/edu of QEMU), as the instrument that shows what a mapping lets through. */
import type { Device, Region } from 'vfio';

const SOURCE = 0x80;
const DESTINATION = 0x88;
const COUNT = 0x90;
const COMMAND = 0x98;
const START = 1;
const TO_HOST = 2;
const INTERRUPT = 4;
/** The device's own buffer of one page, as its DMA engine addresses it. */
const INTERNAL = 0x40000n;

/** As much of a device as has its registers. */
interface Engine {
  region(name: 'bar0'): Pick<Region, 'read32' | 'write64'>;
}

/** What edu's DMA engine can reach. */
export const eduMask = { maxIova: (1n << 28n) - 1n };

async function copy(
  dev: Engine,
  from: bigint,
  to: bigint,
  count: number,
  command: number,
): Promise<void> {
  const bar = dev.region('bar0');
  bar.write64(SOURCE, from);
  bar.write64(DESTINATION, to);
  bar.write64(COUNT, BigInt(count));
  bar.write64(COMMAND, BigInt(command | START));
  while ((bar.read32(COMMAND) & START) !== 0) await new Promise(setImmediate);
}

/** The device reads from `iova` into its buffer. */
export function deviceReads(dev: Engine, iova: bigint, count = 4096): Promise<void> {
  return copy(dev, iova, INTERNAL, count, 0);
}

/** The device writes its buffer to `iova`. */
export function deviceWrites(dev: Engine, iova: bigint, count = 4096): Promise<void> {
  return copy(dev, INTERNAL, iova, count, TO_HOST);
}

/** The same, with an interrupt at the end. */
export function deviceWritesAndInterrupts(dev: Engine, iova: bigint, count = 4096): Promise<void> {
  return copy(dev, INTERNAL, iova, count, TO_HOST | INTERRUPT);
}

/** Fill the device's own buffer with a word. */
export async function deviceHolds(dev: Device, word: number): Promise<void> {
  const buffer = await dev.dma.alloc(4096, eduMask);
  buffer.u32.fill(word);
  await deviceReads(dev, buffer.iova);
  await buffer.close();
}

/** What the device's own buffer has, as 32-bit words. */
export async function deviceHeld(dev: Device): Promise<Uint32Array> {
  const buffer = await dev.dma.alloc(4096, eduMask);
  await deviceWrites(dev, buffer.iova);
  const held = buffer.u32.slice();
  await buffer.close();
  return held;
}
