/**
 * The NVMe driver on QEMU's controller: the kernel's own driver tells whether it moves the right data.
 *
 * @kernel stock
 */
import { execFile, execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { constants, readdirSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Binding, bindDriver, openDevice } from 'vfio';
import { Controller } from '../../examples/nvme/controller';
import { NvmeDriver } from '../../examples/nvme/driver';
import { RandomIo } from '../../examples/nvme/random-io';
import { bringOnline, releaseResources } from '../../examples/nvme/virtualization';
import { findDevices } from './lab-devices';

const MIB = 1 << 20;
/** The only controller with storage; others may be there. */
const nvme = findDevices('nvme').at(-1)!.bdf;
const programs = join(__dirname, '../../build/examples/nvme');

/** Of 512 bytes, in the disk of the lab's nvme-disk. */
const SECTORS = 524_288;

let binding: Binding;

function sectors(block: string): number {
  return Number(readFileSync(`/sys/block/${block}/size`, 'utf8'));
}

async function bind(driver: string): Promise<void> {
  await binding?.restore();
  binding = await bindDriver(nvme, driver);
}

/** Run `use` on the kernel's block device. */
async function withKernelDriver<T>(
  use: (disk: import('node:fs/promises').FileHandle) => Promise<T>,
): Promise<T> {
  execFileSync('modprobe', ['nvme']);
  await bind('nvme');
  let name: string | undefined;
  for (let i = 0; i < 500 && name === undefined; i++) {
    await setTimeout(20);
    name = readdirSync('/sys/block').find(
      // Not its paths, such as nvme0c0n1, which have no node.
      (each) => /^nvme\d+n\d+$/.test(each) && sectors(each) === SECTORS,
    );
  }
  if (name === undefined) throw new Error('the kernel shows no disk');
  const path = join('/dev', name);
  const disk = await open(path, constants.O_RDWR);
  try {
    return await use(disk);
  } finally {
    await disk.sync();
    await disk.close();
    await bind('vfio-pci');
  }
}

beforeAll(() => bind('vfio-pci'));
afterAll(async () => {
  await binding.restore();
  execFileSync('modprobe', ['-r', 'nvme']);
});

describe.each(['polling', 'msix'] as const)('%s', (completion) => {
  test('what the kernel wrote is read, and the other way round', async () => {
    const pattern = randomBytes(3 * MIB);
    await withKernelDriver((disk) => disk.write(pattern, 0, pattern.length, 5 * MIB));

    const driver = await NvmeDriver.open(nvme, { completion, queues: 2 });
    const { blockBytes } = driver.namespace;
    expect(driver.maxTransfer).toBe(MIB);
    const answer = randomBytes(3 * MIB);
    // Within a page, two pages, a list, the longest; from and to every place of the pattern.
    for (const bytes of [blockBytes, 4096, 8192, 12_288, 65_536, MIB]) {
      const buffer = await driver.allocate(bytes);
      for (const at of [0, 512, MIB + 4096, 3 * MIB - bytes]) {
        const lba = (5 * MIB + at) / blockBytes;
        buffer.memory.u8.fill(0);
        await driver.read(lba, bytes / blockBytes, buffer);
        expect(
          Buffer.compare(buffer.memory.u8.subarray(0, bytes), pattern.subarray(at, at + bytes)),
        ).toBe(0);
      }
    }
    const buffers = await Promise.all([0, 1, 2].map(() => driver.allocate(MIB)));
    await Promise.all(
      buffers.map((buffer, i) => {
        buffer.memory.u8.set(answer.subarray(i * MIB, (i + 1) * MIB));
        return driver.write((32 + i) * (MIB / blockBytes), MIB / blockBytes, buffer);
      }),
    );
    await driver.flush();
    await driver.close();

    const seen = await withKernelDriver(async (disk) => {
      const { buffer } = await disk.read(Buffer.alloc(3 * MIB), 0, 3 * MIB, 32 * MIB);
      return buffer;
    });
    expect(Buffer.compare(seen, answer)).toBe(0);
  });

  test('errors name the status, and the queue goes on', async () => {
    const driver = await NvmeDriver.open(nvme, { completion });
    const buffer = await driver.allocate(4096);
    const end = Number(driver.namespace.size);
    await expect(driver.read(end, 1, buffer)).rejects.toThrow(
      `read of 1 blocks at ${end}: LBA out of range (SCT 0, SC 0x80)`,
    );
    await expect(driver.read(0, 0, buffer)).rejects.toThrow(RangeError);
    await expect(driver.read(0, 1000, buffer)).rejects.toThrow(RangeError);
    await driver.read(0, 1, buffer);
    await driver.close();
  });

  test('more requests than slots wait their turn', async () => {
    const driver = await NvmeDriver.open(nvme, { completion, entries: 4 });
    const buffer = await driver.allocate(4096);
    await Promise.all(Array.from({ length: 200 }, (_, i) => driver.read(i, 1, buffer)));
    await driver.close();
  });
});

test('a controller that answers no more is reset, and works again', async () => {
  const driver = await NvmeDriver.open(nvme, { timeoutMs: 200 });
  const buffer = await driver.allocate(4096);
  await driver.read(0, 1, buffer);
  // It cannot fetch the command any more.
  driver.controller.device.disableBusMaster();
  await expect(driver.read(1, 1, buffer)).rejects.toThrow('the controller was reset');
  expect(driver.resets).toBe(1);
  await driver.read(2, 1, buffer);
  await driver.close();
}, 60_000);

test('random reads by slots, 32 at a time', async () => {
  const driver = await NvmeDriver.open(nvme, { completion: 'polling' });
  const buffers = await Promise.all(Array.from({ length: 32 }, () => driver.allocate(4096)));
  const io = new RandomIo({
    queue: driver.queues[0]!,
    pointers: buffers.map(({ pointer }) => pointer),
    write: false,
    blocks: 8,
    span: 65_536,
  });
  io.run(2000);
  expect(io.done).toBe(2000);
  expect(driver.queues[0]!.pair.unexpected).toBe(0);
  await driver.close();
});

test("a VF, opened with its PF's token, reads what the PF wrote", async () => {
  const vfToken = randomUUID();
  const device = await openDevice(nvme, { vfToken });
  const pf = await Controller.start(device);
  await releaseResources(pf);
  const [vf] = await device.sriov.setNumVfs(1);
  await bringOnline(pf, 0, { queues: 3, vectors: 3 });
  await expect(NvmeDriver.open(vf!)).rejects.toMatchObject({ code: 'EACCES' });
  const driver = await NvmeDriver.open(vf!, { vfToken, queues: 2 });
  const buffer = await driver.allocate(4096);
  const pattern = randomBytes(4096);
  buffer.memory.u8.set(pattern);
  await driver.write(800, 8, buffer);
  await driver.flush();
  buffer.memory.u8.fill(0);
  await driver.read(800, 8, buffer);
  expect(Buffer.compare(buffer.memory.u8, pattern)).toBe(0);
  await driver.close();
  await device.sriov.setNumVfs(0);
  await pf.stop();
  await device.close();
}, 60_000);

test('the programs', async () => {
  const run = promisify(execFile);
  const identify = await run(process.execPath, [join(programs, 'identify.js'), nvme]);
  expect(identify.stdout).toContain('namespace 1: ');
  const bench = await run(process.execPath, [join(programs, 'bench.js'), nvme, '--count', '500']);
  expect(JSON.parse(bench.stdout)).toMatchObject({ event: 'done', iops: expect.any(Number) });
}, 60_000);
