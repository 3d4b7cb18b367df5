/**
 * BARs as the kernel maps them: all that it says it does, and touched by several threads at once.
 *
 * @kernel stock
 */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { openDevice } from 'vfio';
import { bound, findDevice } from './lab-devices';

/** docs/specs/edu of QEMU. */
const ID = 0x010000ed;
const PCI_COMMAND = 4;
const MEMORY_SPACE = 2;

bound('edu', 'igb', 'nvme');

test.each([
  ['edu', ['bar0']],
  ['nvme', ['bar0']],
  // Registers, and the MSI-X table; BAR 2 is of I/O ports.
  ['igb', ['bar0', 'bar1', 'bar3']],
] as const)(
  '%s: every BAR that can be mapped is, from end to end; nothing else',
  async (kind, names) => {
    const dev = await openDevice(findDevice(kind).bdf);
    const regions = dev.regions();
    expect(regions.filter(({ mappable }) => mappable).map(({ name }) => name)).toEqual(names);
    for (const { index, name, size, mappable } of regions) {
      const region = dev.region(index);
      expect(region.mapped).toBe(mappable);
      // Of an MSI-X table, the kernel shows nothing but by a mapping: see below.
      if (!mappable || name === 'bar3') continue;
      const direct = [0, size - 4].map((offset) => region.read32(offset));
      const bytes = Buffer.alloc(8);
      region.readBytes(0, bytes.subarray(0, 4));
      region.readBytes(size - 4, bytes.subarray(4));
      expect([bytes.readUInt32LE(0), bytes.readUInt32LE(4)]).toEqual(direct);
    }
    await dev.close();
  },
);

test("igb's MSI-X table can be read where it is: what the kernel writes there is seen", async () => {
  const igb = await openDevice(findDevice('igb').bdf);
  const table = igb.region('bar3');
  // PCI Local Bus Specification 3.0, 6.8.2.6 and following: address, and the mask bit in vector control.
  const address = () => table.read32(0);
  const masked = () => (table.read32(12) & 1) === 1;
  const read = Buffer.alloc(16);
  table.readBytes(0, read);
  expect(read.every((byte) => byte === 0xff)).toBe(true);
  expect([table.mapped, masked()]).toEqual([true, true]);
  const msix = igb.irq('msix');
  await msix.enable([0]);
  expect([address() >>> 20, masked()]).toEqual([0xfee, false]);
  await msix.disable();
  expect(masked()).toBe(true);
  await igb.close();
});

test('several threads that are the first to touch a BAR, all at once', async () => {
  const threads = 3;
  const rounds = 5;
  const dev = await openDevice(findDevice('edu').bdf);
  const bar = dev.region('bar0');
  /** The round that may begin, and threads that are done with it. */
  const [round, done] = [0, 1];
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const program = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { attachRegion } = require(${JSON.stringify(join(__dirname, '../../dist/index.js'))});
    const { bar, shared } = workerData;
    const registers = attachRegion(bar);
    const seen = [];
    parentPort.postMessage('attached');
    for (let round = 1; round <= ${rounds}; round++) {
      Atomics.wait(shared, ${round}, round - 1);
      seen.push(registers.read32(0));
      Atomics.add(shared, ${done}, 1);
    }
    registers.close();
    // Closed twice, it takes nothing away from who attached it since.
    const again = attachRegion(bar);
    registers.close();
    seen.push(again.read32(0));
    again.close();
    parentPort.postMessage(seen);
  `;
  const workerData = { bar: bar.share(), shared };
  const workers = Array.from(
    { length: threads },
    () => new Worker(program, { eval: true, workerData }),
  );
  const hears = (worker: Worker) => new Promise((resolve) => worker.once('message', resolve));
  await Promise.all(workers.map(hears));
  const seen = workers.map(hears);
  const command = dev.config.read16(PCI_COMMAND);
  for (let n = 1; n <= rounds; n++) {
    // The kernel takes the mapping's pages away; the next to touch it brings them back.
    dev.config.write16(PCI_COMMAND, command & ~MEMORY_SPACE);
    dev.config.write16(PCI_COMMAND, command | MEMORY_SPACE);
    Atomics.store(shared, round, n);
    Atomics.notify(shared, round);
    while (Atomics.load(shared, done) < n * threads) await new Promise(setImmediate);
  }
  for (const values of await Promise.all(seen)) expect(values).toEqual(Array(rounds + 1).fill(ID));
  await Promise.all(workers.map((worker) => worker.terminate()));
  await dev.close();
});
