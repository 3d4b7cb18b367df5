/**
 * A driver for QEMU's teaching device `edu`: registers, a DMA round trip and MSI.
 *
 * The first example to read. The device is described in QEMU's docs/specs/edu.rst: 1 MiB of
 * registers in BAR 0, a DMA engine with a 4 KiB buffer of its own, and one interrupt.
 */
import { type Device, type DmaBuffer, openDevice, type Region } from 'vfio';
import { runProgram, UsageError } from '../program';

const ID = 0x00;
const LIVENESS = 0x04;
const FACTORIAL = 0x08;
const STATUS = 0x20;
const INTERRUPT_STATUS = 0x24;
const INTERRUPT_ACKNOWLEDGE = 0x64;
const DMA_SOURCE = 0x80;
const DMA_DESTINATION = 0x88;
const DMA_COUNT = 0x90;
const DMA_COMMAND = 0x98;

/** The low half of ID; the high half is the version. */
const EDU = 0x00ed;
const STATUS_INTERRUPT_WHEN_DONE = 0x80;
const FACTORIAL_DONE = 0x1;
const DMA_DONE = 0x100;
const DMA_START = 0x1;
const DMA_TO_MEMORY = 0x2;
const DMA_INTERRUPT_WHEN_DONE = 0x4;

/** The device's own buffer, in the address space of its DMA engine. */
const DEVICE_BUFFER = 0x40000n;
const DEVICE_BUFFER_SIZE = 4096;
/** The engine has 28 address lines unless QEMU's `dma_mask=` says otherwise. */
const HIGHEST_ADDRESS = 0x0fff_ffffn;

const TIMEOUT_MS = 10_000;

const USAGE = `Usage: node edu.js BDF

Drive QEMU's teaching device: registers, a DMA round trip, MSI.
BDF is the device's PCI address, such as 0000:02:00.0; it must be bound to vfio-pci.`;

class Edu {
  private readonly bar: Region;
  private readonly interrupts: AsyncIterator<unknown>;

  private constructor(private readonly device: Device) {
    this.bar = device.region('bar0');
    this.interrupts = device.irq('msi')[Symbol.asyncIterator]();
  }

  static async start(device: Device): Promise<Edu> {
    // Without bus mastering the device's DMA and its MSI, which is a write too, are dropped silently.
    device.enableBusMaster();
    await device.irq('msi').enable();
    return new Edu(device);
  }

  identify(): string {
    const id = this.bar.read32(ID);
    if ((id & 0xffff) !== EDU) {
      throw new Error(`${this.device.bdf} is not an edu device: its ID register is ${hex(id)}`);
    }
    return `edu version ${id >>> 24}.${(id >>> 16) & 0xff}`;
  }

  /** The device answers with the inverse of what is written. */
  checkLiveness(): void {
    const sent = 0x1234_5678;
    this.bar.write32(LIVENESS, sent);
    const answer = this.bar.read32(LIVENESS);
    if (answer !== ~sent >>> 0)
      throw new Error(`liveness: wrote ${hex(sent)}, read ${hex(answer)}`);
  }

  async factorial(n: number): Promise<number> {
    this.bar.write32(STATUS, STATUS_INTERRUPT_WHEN_DONE);
    this.bar.write32(FACTORIAL, n);
    await this.interrupt(FACTORIAL_DONE);
    return this.bar.read32(FACTORIAL);
  }

  async copyToDevice(buffer: DmaBuffer): Promise<void> {
    await this.copy(buffer.iova, DEVICE_BUFFER, DMA_START | DMA_INTERRUPT_WHEN_DONE);
  }

  async copyFromDevice(buffer: DmaBuffer): Promise<void> {
    const command = DMA_START | DMA_TO_MEMORY | DMA_INTERRUPT_WHEN_DONE;
    await this.copy(DEVICE_BUFFER, buffer.iova, command);
  }

  private async copy(source: bigint, destination: bigint, command: number): Promise<void> {
    this.bar.write64(DMA_SOURCE, source);
    this.bar.write64(DMA_DESTINATION, destination);
    this.bar.write64(DMA_COUNT, BigInt(DEVICE_BUFFER_SIZE));
    this.bar.write32(DMA_COMMAND, command);
    await this.interrupt(DMA_DONE);
  }

  /** Wait for the interrupt of `cause` and acknowledge it; closing the device ends the wait. */
  private async interrupt(cause: number): Promise<void> {
    const { done } = await this.interrupts.next();
    if (done) throw new Error(`no interrupt within ${TIMEOUT_MS / 1000} s`);
    const status = this.bar.read32(INTERRUPT_STATUS);
    this.bar.write32(INTERRUPT_ACKNOWLEDGE, status);
    if (status !== cause)
      throw new Error(`interrupt status ${hex(status)}, expected ${hex(cause)}`);
  }
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}

function fillWithPattern(words: Uint32Array): void {
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 0x9e37_79b1);
}

async function drive(device: Device): Promise<void> {
  const edu = await Edu.start(device);
  console.log(`${device.bdf}: ${edu.identify()}`);

  edu.checkLiveness();
  console.log('registers: the liveness register inverts what is written');

  console.log(`MSI: 12! = ${await edu.factorial(12)}, reported by interrupt`);

  const source = await device.dma.alloc(DEVICE_BUFFER_SIZE, { maxIova: HIGHEST_ADDRESS });
  const target = await device.dma.alloc(DEVICE_BUFFER_SIZE, { maxIova: HIGHEST_ADDRESS });
  fillWithPattern(source.u32);
  await edu.copyToDevice(source);
  console.log(`DMA: ${source.size} bytes from IOVA 0x${source.iova.toString(16)} to the device`);
  await edu.copyFromDevice(target);
  console.log(`DMA: ${target.size} bytes from the device to IOVA 0x${target.iova.toString(16)}`);
  if (Buffer.compare(source.u8, target.u8) !== 0) throw new Error('DMA: the bytes differ');
  console.log('DMA: both buffers are equal');
}

async function main(positionals: string[]): Promise<void> {
  const [bdf, ...rest] = positionals;
  if (bdf === undefined || rest.length > 0) throw new UsageError('expected one argument, BDF');

  const device = await openDevice(bdf);
  const watchdog = setTimeout(() => void device.close(), TIMEOUT_MS);
  try {
    await drive(device);
  } finally {
    clearTimeout(watchdog);
    await device.close();
  }
  console.log('edu: ok');
}

void runProgram({ name: 'edu', usage: USAGE, options: {} }, (_, positionals) => main(positionals));
