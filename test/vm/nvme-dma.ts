/** The least of an NVMe driver that moves data: the admin queue, and Identify (NVM Express base specification 2.0). */
import type { AddressSpace, Device } from 'vfio';

/** Controller registers (3.1.3). */
const CC = 0x14;
const CSTS = 0x1c;
const AQA = 0x24;
const ASQ = 0x28;
const ACQ = 0x30;
const DOORBELLS = 0x1000;

const ENABLE = 1;
const READY = 1;
/** Sizes of queue entries, 2^6 and 2^4 bytes, as CC has them (3.1.3.5). */
const ENTRY_SIZES = (6 << 16) | (4 << 20);
const ENTRIES = 2;
const IDENTIFY = 0x06;
const IDENTIFY_CONTROLLER = 1;
const PAGE = 4096;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

/**
 * The model number (5.17.2.1, bytes 63:24) that the controller writes to memory of `space`: it fetches
 * the command, writes the data and completes, each by DMA.
 */
export async function identifiedModel(nvme: Device, space: AddressSpace): Promise<string> {
  const bar = nvme.region('bar0');
  const [submission, completion, data] = await Promise.all(
    [PAGE, PAGE, PAGE].map((size) => space.alloc(size)),
  );
  try {
    bar.write32(CC, 0);
    await until(() => (bar.read32(CSTS) & READY) === 0);
    bar.write32(AQA, ((ENTRIES - 1) << 16) | (ENTRIES - 1));
    bar.write64(ASQ, submission!.iova);
    bar.write64(ACQ, completion!.iova);
    nvme.enableBusMaster();
    bar.write32(CC, ENTRY_SIZES | ENABLE);
    await until(() => (bar.read32(CSTS) & READY) !== 0);

    submission!.u32.set([
      IDENTIFY,
      0,
      0,
      0,
      0,
      0,
      data!.iovaLo,
      data!.iovaHi,
      0,
      0,
      IDENTIFY_CONTROLLER,
    ]);
    bar.write32(DOORBELLS, 1);
    // The phase tag (4.2.4): 1 in the first round.
    await until(() => (Atomics.load(completion!.u32, 3) & 0x1_0000) !== 0);
    const status = completion!.u32[3]! >>> 17;
    if (status !== 0) throw new Error(`Identify: status 0x${status.toString(16)}`);
    return Buffer.from(data!.u8).toString('latin1', 24, 64).trim();
  } finally {
    bar.write32(CC, 0);
    await until(() => (bar.read32(CSTS) & READY) === 0);
    await Promise.all([submission, completion, data].map((buffer) => buffer!.close()));
  }
}
