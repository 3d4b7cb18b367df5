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
/** CSTS.CFS. */
const FATAL = 2;
const ENTRIES = 2;
const IDENTIFY = 0x06;
const IDENTIFY_CONTROLLER = 1;
const PAGE = 4096;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

/** Reset, and ready with the admin queue at these addresses. */
async function start(nvme: Device, submission: bigint, completion: bigint): Promise<void> {
  await stop(nvme);
  const bar = nvme.region('bar0');
  bar.write32(AQA, ((ENTRIES - 1) << 16) | (ENTRIES - 1));
  bar.write64(ASQ, submission);
  bar.write64(ACQ, completion);
  nvme.enableBusMaster();
  bar.write32(CC, ENTRY_SIZES | ENABLE);
  await until(() => (bar.read32(CSTS) & READY) !== 0);
}

async function stop(nvme: Device): Promise<void> {
  const bar = nvme.region('bar0');
  bar.write32(CC, 0);
  await until(() => (bar.read32(CSTS) & READY) === 0);
}

/**
 * Have the controller describe itself (5.17.2.1) in the page at `iova`: it fetches the command, writes
 * the data and completes, each by DMA.
 */
export async function identify(nvme: Device, space: AddressSpace, iova: bigint): Promise<void> {
  const [submission, completion] = await Promise.all([PAGE, PAGE].map((size) => space.alloc(size)));
  try {
    await start(nvme, submission!.iova, completion!.iova);
    submission!.u32[0] = IDENTIFY;
    submission!.u32.set([Number(iova & 0xffff_ffffn), Number(iova >> 32n)], 6);
    submission!.u32[10] = IDENTIFY_CONTROLLER;
    nvme.region('bar0').write32(DOORBELLS, 1);
    // The phase tag (4.2.4): 1 in the first round.
    await until(() => (Atomics.load(completion!.u32, 3) & 0x1_0000) !== 0);
    const status = completion!.u32[3]! >>> 17;
    if (status !== 0) throw new Error(`Identify: status 0x${status.toString(16)}`);
  } finally {
    await stop(nvme);
    await Promise.all([submission!.close(), completion!.close()]);
  }
}

/** The model number (bytes 63:24) in what `identify` wrote. */
export function modelNumber(page: Uint8Array): string {
  return Buffer.from(page).toString('latin1', 24, 64).trim();
}

/** Have the controller fetch its command from an address that is not mapped, until it gives up (3.1.3.6). */
export async function fetchNothing(nvme: Device, iova: bigint): Promise<void> {
  const bar = nvme.region('bar0');
  await start(nvme, iova, iova);
  bar.write32(DOORBELLS, 1);
  await until(() => (bar.read32(CSTS) & FATAL) !== 0);
  await stop(nvme);
}
