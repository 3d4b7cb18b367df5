/** Our side of the rows on edu: `node ours-device.js BDF ROW` prints ns per operation. */
import { type Device, openDevice } from '../src';

const ROUNDS = 2000;

async function measure(row: string, device: Device): Promise<void> {
  const bar = device.region('bar0');
  const { config, dma } = device;
  switch (row) {
    case 'config-read32':
      for (let i = 0; i < ROUNDS; i++) config.read32(0);
      return;
    case 'bar-read32':
      for (let i = 0; i < ROUNDS; i++) bar.read32(0);
      return;
    case 'bar-write32':
      for (let i = 0; i < ROUNDS; i++) bar.write32(4, i);
      return;
    case 'map-unmap-4k':
      for (let i = 0; i < ROUNDS; i++) await (await dma.alloc(4096)).close();
      return;
    default:
      throw new Error(`no row ${row}`);
  }
}

async function openAndClose(bdf: string): Promise<void> {
  const device = await openDevice(bdf);
  device.region('bar0');
  await device.close();
}

async function main(bdf: string, row: string): Promise<void> {
  if (row === 'open-close') {
    const start = process.hrtime.bigint();
    for (let i = 0; i < 5; i++) await openAndClose(bdf);
    console.log(Number(process.hrtime.bigint() - start) / 5);
    return;
  }
  const device = await openDevice(bdf);
  try {
    await measure(row, device); // compiled from here on
    const start = process.hrtime.bigint();
    await measure(row, device);
    console.log(Number(process.hrtime.bigint() - start) / ROUNDS);
  } finally {
    await device.close();
  }
}

const [bdf = '', row = ''] = process.argv.slice(2);
void main(bdf, row);
