/**
 * Nothing stays behind: descriptors, mappings, groups, whoever ends how.
 *
 * @kernel each
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type AddressSpace, attachRegion, type Device, openDevice } from 'vfio';
import { times } from '../fixtures/scale';
import { dmaModes } from './dma-modes';
import { deviceHeld, deviceReads, deviceWrites, eduMask } from './edu-dma';
import { bound, findDevice, vfioResources } from './lab-devices';

bound('edu', 'igb', 'nvme');

/** PCI_COMMAND_MASTER. */
const BUS_MASTER = 4;

const library = join(__dirname, '../../dist/index.js');

/** Opens a device, uses all of it, and says so; never closes. */
const holder = (bdf: string, then: string) => `
  const { openDevice } = require(${JSON.stringify(library)});
  (async () => {
    const dev = await openDevice('${bdf}');
    dev.enableBusMaster();
    const irq = dev.irq(dev.irqKinds().includes('msix') ? 'msix' : 'msi');
    irq.on(() => {});
    await irq.enable([0]);
    const buffer = await dev.dma.alloc(1 << 20);
    buffer.u32.fill(dev.region('bar0').read32(0));
    ${then}
  })();
`;

async function openEventually(bdf: string): Promise<Device> {
  const dev = await openDevice(bdf);
  expect(dev.region('bar0').read32(0)).not.toBe(0xffff_ffff);
  return dev;
}

const rounds = times(25, 100);

test(`open, use and close ${rounds} times: no descriptor, mapping or busy group is left`, async () => {
  const { bdf } = findDevice('edu');
  const before = vfioResources();
  for (let round = 0; round < rounds; round++) {
    const dev = await openDevice(bdf);
    dev.region('bar0').read32(0);
    await dev.irq('msi').enable();
    (await dev.dma.alloc(8192)).u32[0] = round;
    await dev.close();
  }
  expect(vfioResources()).toEqual(before);
});

test('failed opens leave nothing', async () => {
  const before = vfioResources();
  for (let round = 0; round < 20; round++) {
    const vfToken = '2ab74924-c335-45f4-9b16-8569e5b08258';
    await expect(openDevice(findDevice('edu').bdf, { vfToken })).rejects.toThrow();
  }
  expect(vfioResources()).toEqual(before);
});

test('a second process is told who holds the group', async () => {
  const { bdf } = findDevice('edu');
  const child = spawn(process.execPath, [
    '-e',
    holder(bdf, "console.log('open'); setInterval(() => {}, 1e6);"),
  ]);
  await once(child.stdout, 'data');
  try {
    await expect(openDevice(bdf)).rejects.toThrow(
      expect.objectContaining({
        code: 'EBUSY',
        path: expect.stringMatching(/^\/dev\/vfio\/(\d+|devices\/vfio\d+)$/),
        hint: expect.stringContaining(`node (pid ${child.pid})`),
      }),
    );
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await (await openEventually(bdf)).close();
});

test.each([
  ['process.exit()', 'process.exit(0);'],
  ['an uncaught exception', "setImmediate(() => { throw new Error('on purpose') });"],
])('a process that ends by %s frees the group', async (_, then) => {
  const { bdf } = findDevice('edu');
  const child = spawn(process.execPath, ['-e', holder(bdf, then)], { stdio: 'ignore' });
  const [status, signal] = await once(child, 'exit');
  expect([status === 0 || status === 1, signal]).toEqual([true, null]);
  await (await openEventually(bdf)).close();
});

test.each(['edu', 'igb', 'nvme'] as const)(
  'a worker that is terminated with %s open frees the group and takes nothing down',
  async (kind) => {
    const { bdf } = findDevice(kind);
    const before = vfioResources();
    const then = "require('node:worker_threads').parentPort.postMessage('open');";
    const worker = new Worker(holder(bdf, then), { eval: true });
    await once(worker, 'message');
    expect(vfioResources().length).toBeGreaterThan(before.length);
    await worker.terminate();
    await (await openEventually(bdf)).close();
    expect(vfioResources()).toEqual(before);
  },
);

describe.each(dmaModes.filter(({ name }) => name !== 'iommufd'))('$name', ({ open, entries }) => {
  const used = (space: AddressSpace) => {
    const { mappingsLeft } = space.usage();
    return entries && entries - mappingsLeft!;
  };
  const made = (count: number) => entries && count;

  test('two groups share the mappings of one container', async () => {
    const addressSpace = open();
    const edu = await openDevice(findDevice('edu').bdf, { addressSpace });
    const nvme = await openDevice(findDevice('nvme').bdf, { addressSpace });
    expect(edu.dma).toBe(nvme.dma);

    const shared = await edu.dma.alloc(4096);
    expect(addressSpace.usage().mappings).toBe(1);
    expect(used(addressSpace)).toBe(made(1));
    await edu.close();
    expect(shared.u32[0]).toBe(0);
    expect(used(addressSpace)).toBe(made(1));
    await shared.close();
    expect(addressSpace.usage().mappings).toBe(0);
    expect(used(addressSpace)).toBe(made(0));
    await addressSpace.close();
    expect(nvme.closed).toBe(true);
  });

  test('its buffers are there for the group that comes after the last', async () => {
    const addressSpace = open();
    const first = await openDevice(findDevice('edu').bdf, { addressSpace });
    const buffer = await addressSpace.alloc(4096, eduMask);
    await first.close();
    const second = await openDevice(findDevice('edu').bdf, { addressSpace });
    second.enableBusMaster();
    expect(used(addressSpace)).toBe(made(1));
    buffer.u32.fill(0x600d);
    await deviceReads(second, buffer.iova);
    expect((await deviceHeld(second)).every((word) => word === 0x600d)).toBe(true);
    await buffer.close();
    expect(used(addressSpace)).toBe(made(0));
    await second.close();
    await addressSpace.close();
  });
});

/**
 * A worker that opens edu, gives it memory, and lets others have its registers and the memory; then it
 * waits to be ended.
 */
const owner = (bdf: string, ends: string) => `
  const { openDevice } = require(${JSON.stringify(library)});
  const { parentPort } = require('node:worker_threads');
  (async () => {
    const dev = await openDevice('${bdf}');
    const memory = new WebAssembly.Memory({ shared: true, initial: 1, maximum: 1 });
    const bytes = new Uint8Array(memory.buffer);
    const mapping = await dev.dma.map(bytes, { maxIova: ${eduMask.maxIova}n });
    dev.enableBusMaster();
    const buffer = await dev.dma.alloc(4096, { maxIova: ${eduMask.maxIova}n });
    parentPort.once('message', () => { ${ends} });
    parentPort.postMessage({
      bar: dev.region('bar0').share(),
      bytes,
      iova: mapping.iova,
      buffer: buffer.iova,
    });
  })();
`;

function writeCommand(bdf: string, value: number): void {
  const fd = openSync(`/sys/bus/pci/devices/${bdf}/config`, 'r+');
  writeSync(fd, Uint8Array.of(value & 0xff, value >> 8), 0, 2, 4);
  closeSync(fd);
}

test.each([
  ['terminate', ''],
  ['exit', 'process.exit(0);'],
  ['throw', "throw new Error('on purpose');"],
])(
  'a device does not reach the memory of a worker that has ended (%s), whoever holds its registers',
  async (_, ends) => {
    const { bdf } = findDevice('edu');
    const command = () => readFileSync(`/sys/bus/pci/devices/${bdf}/config`).readUInt16LE(4);
    const before = vfioResources();
    const worker = new Worker(owner(bdf, ends), { eval: true });
    worker.on('error', () => {});
    const [given] = await once(worker, 'message');
    const bytes = given.bytes as Uint8Array;
    const registers = attachRegion(given.bar);
    const engine = { region: () => registers };
    bytes.fill(1);
    await deviceReads(engine, given.iova);
    bytes.fill(2);
    await deviceWrites(engine, given.iova);
    expect(bytes.subarray(0, 4096)).toEqual(new Uint8Array(4096).fill(1));
    expect(command() & BUS_MASTER).toBe(BUS_MASTER);

    // Not by once(), which rejects at an error.
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    if (ends === '') await worker.terminate();
    else worker.postMessage('end');
    await ended;
    expect(command() & BUS_MASTER).toBe(0);
    bytes.fill(3);
    await deviceWrites(engine, given.iova);
    await deviceWrites(engine, given.buffer);
    // Root could let it master the bus again; what the worker has mapped is unmapped all the same.
    writeCommand(bdf, command() | BUS_MASTER);
    await deviceWrites(engine, given.iova);
    expect(bytes.every((byte) => byte === 3)).toBe(true);

    registers.close();
    await (await openEventually(bdf)).close();
    expect(vfioResources()).toEqual(before);
  },
);
