jest.mock('../../src/native', () => ({ native: {} }));

import { Pf, type PfRegister, Registers } from '../../examples/igb/registers';
import {
  BUFFER_BYTES,
  RxRing,
  rxLength,
  TxRing,
  txCommand,
  txOptions,
} from '../../examples/igb/ring';
import type { DmaBuffer } from '../../src/dma/buffer';

const FIRST_IOVA = 0xffff_f000n;

/** Registers as memory, and DMA memory that crosses the 4 GiB line. */
function fakeDevice() {
  const memory = new Map<number, number>();
  const registers = new Registers<PfRegister>({
    read32: (offset) => memory.get(offset) ?? 0,
    write32: (offset, value) => void memory.set(offset, value),
  });
  const buffers: DmaBuffer[] = [];
  let iova = FIRST_IOVA;
  const dma = {
    alloc(size: number): Promise<DmaBuffer> {
      const [iovaLo, iovaHi] = [Number(iova & 0xffff_ffffn), Number(iova >> 32n)];
      const u32 = new Uint32Array(size / 4);
      const buffer = { size, iova, iovaLo, iovaHi, u32 } as unknown as DmaBuffer;
      iova += BigInt(Math.ceil(size / 4096) * 4096);
      buffers.push(buffer);
      return Promise.resolve(buffer);
    },
  };
  return { memory, registers, buffers, dma };
}

const QUEUE = 7;

async function rxRing(count: number) {
  const device = fakeDevice();
  const ring = await RxRing.create(device.registers, Pf.rxQueue(QUEUE), device.dma as never, count);
  ring.start();
  const [descriptors, data] = device.buffers as [DmaBuffer, DmaBuffer];
  const receive = (index: number, status: number, length: number, first = 0) => {
    data.u32[(index * BUFFER_BYTES) / 4] = first;
    descriptors.u32.set([0, 0, status, length], index * 4);
  };
  return { ...device, ring, descriptors: descriptors.u32, receive };
}

test('transmit descriptors: one whole frame, FCS inserted, status reported', () => {
  expect(txCommand(64)).toBe(0x2b30_0040);
  expect(txOptions(64)).toBe(64 << 14);
});

test('a receive descriptor is not done, or has a frame, or something to drop', () => {
  expect(rxLength(0, 64)).toBe(-1);
  expect(rxLength(3, 0xabcd_0040)).toBe(64);
  expect(rxLength(1, 2048)).toBe(0);
  expect(rxLength(0x8000_0003, 64)).toBe(0);
});

test('a receive queue starts with all buffers but one, also across 4 GiB', async () => {
  const { memory, descriptors, buffers } = await rxRing(8);
  const queue = Pf.rxQueue(QUEUE);
  expect(memory.get(queue.RDBAL)).toBe(0xffff_f000);
  expect(memory.get(queue.RDLEN)).toBe(128);
  expect(memory.get(queue.RDT)).toBe(7);
  expect(memory.get(queue.RXDCTL)! & (1 << 25)).not.toBe(0);
  expect(buffers[1]!.iova).toBe(0x1_0000_0000n);
  expect([...descriptors.subarray(4, 8)]).toEqual([BUFFER_BYTES, 1, 0, 0]);
});

test('frames are handed over in order, up to the budget, and their buffers go back', async () => {
  const { memory, ring, receive, descriptors } = await rxRing(8);
  const seen: Array<[number, number]> = [];
  const sink = {
    frame(words: Uint32Array, index: number, length: number) {
      seen.push([words[index]!, length]);
    },
  };
  for (let i = 0; i < 5; i++) receive(i, 3, 60 + i, 100 + i);
  expect(ring.reap(sink, 4)).toBe(4);
  expect(ring.reap(sink, 4)).toBe(1);
  expect(ring.reap(sink, 4)).toBe(0);
  expect(seen).toEqual([0, 1, 2, 3, 4].map((i) => [100 + i, 60 + i]));
  expect(memory.get(Pf.rxQueue(QUEUE).RDT)).toBe(4);
  expect(descriptors[2]).toBe(0);

  for (let i = 5; i < 10; i++) receive(i & 7, 3, 64, i);
  expect(ring.reap(sink, 100)).toBe(5);
  expect(memory.get(Pf.rxQueue(QUEUE).RDT)).toBe(1);
});

test('what is not one good frame is dropped and counted', async () => {
  const { ring, receive } = await rxRing(8);
  receive(0, 1, 2048);
  receive(1, 0x8000_0003, 64);
  expect(ring.reap({ frame: () => expect('a frame').toBe('dropped') }, 8)).toBe(2);
  expect(ring.dropped).toBe(2);
});

test('a transmit queue takes one frame less than it has descriptors, until some are sent', async () => {
  const { memory, registers, buffers, dma } = fakeDevice();
  const ring = await TxRing.create(registers, Pf.txQueue(QUEUE), dma as never, 8);
  ring.start();
  for (let i = 0; ring.free > 0; i++) {
    ring.words[ring.claim()] = i;
    ring.push(64);
  }
  ring.kick();
  expect(ring.pending).toBe(7);
  expect(memory.get(Pf.txQueue(QUEUE).TDT)).toBe(7);
  expect([0, 1, 6].map((i) => buffers[1]!.u32[(i * BUFFER_BYTES) / 4])).toEqual([0, 1, 6]);

  for (const i of [0, 1]) buffers[0]!.u32[i * 4 + 3]! |= 1;
  expect(ring.free).toBe(2);
  ring.push(64);
  ring.push(64);
  ring.kick();
  expect(memory.get(Pf.txQueue(QUEUE).TDT)).toBe(1);
});

test('a ring is a power of two', async () => {
  const { registers, dma } = fakeDevice();
  await expect(TxRing.create(registers, Pf.txQueue(0), dma as never, 100)).rejects.toThrow('100');
});
