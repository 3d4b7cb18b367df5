/** The NVMe example against the emulated controller, and against the kernel's driver on the same disk. */
import { closeSync, existsSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type Binding, bindDriver, type Device, openDevice } from 'vfio';
import { NvmeController } from '../../examples/nvme/controller';
import { Namespace } from '../../examples/nvme/namespace';
import { findDevice } from './lab-devices';

jest.setTimeout(180_000);
const { bdf } = findDevice('nvme');
const MIB = 1 << 20;

let binding: Binding | undefined;
let device: Device | undefined;

afterEach(async () => {
  await device?.close();
  device = undefined;
  await binding?.restore();
  binding = undefined;
});

async function start(): Promise<{ device: Device; controller: NvmeController }> {
  binding = await bindDriver(bdf);
  device = await openDevice(bdf);
  return { device, controller: await NvmeController.start(device) };
}

/** The kernel's block device of the controller, once it is there. */
async function kernelDisk(): Promise<string> {
  for (let i = 0; i < 500; i++) {
    const nvme = `/sys/bus/pci/devices/${bdf}/nvme`;
    const [name] = existsSync(nvme) ? readdirSync(nvme) : [];
    const disk = `/dev/${name}n1`;
    if (name && existsSync(disk)) return disk;
    await delay(20);
  }
  throw new Error('the kernel made no block device');
}

function pattern(bytes: Uint8Array, seed: number): void {
  for (let i = 0; i < bytes.length; i++)
    bytes[i] = (Math.imul(i ^ seed, 0x9e37_79b1) >>> 13) & 0xff;
}

test('identifies the controller and its namespace', async () => {
  const { controller } = await start();
  expect((await controller.identify()).model).toContain('QEMU');
  expect(await controller.identifyNamespace()).toEqual({ blocks: 2_097_152n, blockBytes: 512 });
});

test('what is written here is read by the kernel, and the other way round', async () => {
  const expected = new Uint8Array(MIB);
  pattern(expected, 1);
  {
    const { device, controller } = await start();
    const commands = await controller.createQueue({ depth: 16 });
    const disk = new Namespace(commands, await controller.identifyNamespace());
    const data = await device.dma.alloc(MIB);
    data.u8.set(expected);
    // QEMU's MDTS is 512 KiB: two commands with PRP lists; then one and two pages, unaligned.
    await disk.write(8, 1024, data, 0);
    await disk.write(8 + 1024, 1024, data, MIB / 2);
    await disk.write(8192, 1, data, 512);
    await disk.write(8200, 9, data, 2048);
    await disk.flush();
    await device.close();
    await binding?.restore();
    binding = undefined;
  }
  const fd = openSync(await kernelDisk(), 'r+');
  const seen = new Uint8Array(MIB);
  readSync(fd, seen, 0, MIB, 8 * 512);
  expect(Buffer.compare(seen, expected)).toBe(0);
  readSync(fd, seen, 0, 512, 8192 * 512);
  expect(Buffer.compare(seen.subarray(0, 512), expected.subarray(512, 1024))).toBe(0);
  readSync(fd, seen, 0, 9 * 512, 8200 * 512);
  expect(Buffer.compare(seen.subarray(0, 4608), expected.subarray(2048, 2048 + 4608))).toBe(0);
  pattern(expected, 2);
  writeSync(fd, expected, 0, MIB, 64 * MIB);
  closeSync(fd);

  const { device, controller } = await start();
  const disk = new Namespace(
    await controller.createQueue({ depth: 4 }),
    await controller.identifyNamespace(),
  );
  const data = await device.dma.alloc(MIB);
  await disk.read((64 * MIB) / 512, 1024, data, 0);
  await disk.read((64 * MIB) / 512 + 1024, 1024, data, MIB / 2);
  expect(Buffer.compare(data.u8, expected)).toBe(0);
});

test('several queues, each with its vector, wrap around', async () => {
  const { device, controller } = await start();
  const info = await controller.identifyNamespace();
  const msix = device.irq('msix');
  await msix.enable([0, 1, 2]);
  const heard = [0, 0, 0];
  msix.on(({ vector, count }) => {
    heard[vector]! += count;
  });
  const data = await device.dma.alloc(4096);
  for (const vector of [1, 2]) {
    const disk = new Namespace(await controller.createQueue({ depth: 8, vector }), info);
    let completed = 0;
    const sink = {
      complete: (_: number, status: number) => {
        expect(status).toBe(0);
        completed++;
      },
    };
    const { queue } = disk.commands;
    for (let round = 0; round < 10; round++) {
      while (queue.free > 0) disk.submitRead(round, 1, data);
      expect(disk.submitRead(0, 1, data)).toBe(-1);
      queue.ring();
      const end = Date.now() + 10_000;
      while (completed < 7 * (round + 1)) {
        if (Date.now() > end) throw new Error(`vector ${vector}: ${completed} completions`);
        await delay(1);
        queue.reap(sink, 8);
      }
    }
    expect(heard[vector]).toBeGreaterThan(0);
  }
});

test('an error is told in words', async () => {
  const { device, controller } = await start();
  const info = await controller.identifyNamespace();
  const commands = await controller.createQueue({ depth: 4 });
  const data = await device.dma.alloc(4096);
  await expect(new Namespace(commands, info).read(Number(info.blocks), 1, data)).rejects.toThrow(
    /LBA out of range.*do not retry/,
  );
  await expect(new Namespace(commands, info, 9).read(0, 1, data)).rejects.toThrow(
    /invalid namespace|invalid field/,
  );
});

test('a command that never ends is aborted, then the controller is reset and works again', async () => {
  const { device, controller } = await start();
  const info = await controller.identifyNamespace();
  const disk = new Namespace(await controller.createQueue({ depth: 4 }), info);
  const ASYNC_EVENT_REQUEST = 0x0c; // completes at an event, of which there is none
  await expect(controller.admin.run({ opcode: ASYNC_EVENT_REQUEST }, 100)).rejects.toThrow(
    /the controller was reset|abort requested/,
  );
  expect(controller.resets).toBe(1);
  await controller.reset();
  await disk.read(0, 1, await device.dma.alloc(4096));
});
